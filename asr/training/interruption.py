"""Ctrl-C ends a training, whatever Lightning and Python make of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from asr.interrupt import Interrupt


class _Check(Callback):
    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def on_train_batch_end(self, *_: Any) -> None:
        self._interrupt.check()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._interrupt.check()


@contextmanager
def interruptible(trainer: lightning.Trainer) -> Iterator[None]:
    """Let Ctrl-C within the block, where the trainer fits, raise what it raises elsewhere.

    Lightning ends the process with code 1 on Ctrl-C, and Python drops the exception where it comes
    while an object is deleted: then the end of the batch raises it again.

    Args:
        trainer: about to fit.

    Raises:
        KeyboardInterrupt: the user interrupted.
    """
    with Interrupt() as interrupt:
        check = _Check(interrupt)
        trainer.callbacks.append(check)  # type: ignore[attr-defined]  # Lightning sets it.
        try:
            yield
        except SystemExit:
            if not trainer.interrupted:
                raise
    if trainer.interrupted:
        raise KeyboardInterrupt
