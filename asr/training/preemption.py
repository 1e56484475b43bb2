"""The request to stop: SIGTERM, as schedulers and spot machines send it before they kill."""

import signal
import threading
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from asr.errors import PreemptedError

# SLURM's `--signal=USR1@120` sends the second one two minutes before the time is over.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption(Callback):
    """Notes a signal to stop, while training runs; ``Checkpoints`` acts on it.

    Lightning's own handlers are replaced: they would run a collective operation within the handler,
    in the middle of others.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.received_sigterm:
            self.received = signal.SIGTERM
        if threading.current_thread() is threading.main_thread():
            # Lightning puts back what was there before it when training ends.
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop at once: ``Checkpoints`` wrote one shortly before."""
        if self.received:
            raise self.error(trainer, "during validation")

    def error(self, trainer: lightning.Trainer, where: str) -> PreemptedError:
        """Say where training stopped."""
        name = self.received.name if self.received else "a signal to another process"
        return PreemptedError(
            f"stopped by {name} in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, "
            f"{where}, after {trainer.global_step} steps; the same command goes on from the last "
            "checkpoint"
        )


def highest_over_ranks(trainer: lightning.Trainer, value: int) -> int:
    """Give all ranks the largest of their values, so that all decide alike.

    Args:
        trainer: tells the ranks' device.
        value: this rank's.
    """
    if trainer.world_size == 1:
        return value
    shared = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return int(shared)


def ignore_first_sigterm(worker: int) -> None:
    """Let a process that reads audio outlive the signal that its whole job gets.

    SLURM signals every process of a job; without its readers training could not reach the next
    checkpoint. A second signal ends it: PyTorch sends one to a reader that does not end by itself.

    Args:
        worker: the reader's number, as ``DataLoader`` passes it.
    """

    def ignored(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignored)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
