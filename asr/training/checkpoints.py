"""Checkpoints to go on from, and the export of the best model."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from asr.data import Batch
from asr.errors import ConfigError
from asr.training.averaging import CHOICES
from asr.training.data import data_of
from asr.training.module import CTCTraining
from asr.training.preemption import Preemption, highest_over_ranks
from asr.training.run import RunFolder

# A checkpoint is written before validation, which cannot be gone on with, if the last one is older.
VALIDATION_RISK_SECONDS = 60.0


@dataclass(frozen=True)
class Every:
    """How much training may be lost when a process is killed.

    Attributes:
        every_steps: optimizer steps between checkpoints within an epoch.
        every_minutes: no more than so many minutes between them; None for no such limit.
        choose: which epoch's model becomes ``model/``: "best", that of the lowest validation WER,
            or "last".
        half: whether its weights are rounded to float16, so that it takes half the space.

    Raises:
        ConfigError: a number that is too small, or another choice.
    """

    every_steps: int = 500
    every_minutes: float | None = 10.0
    choose: str = "best"
    half: bool = False

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ConfigError(
                f"checkpoint.every_steps is {self.every_steps}; expected a whole number, 1 or more"
            )
        if self.choose not in CHOICES:
            raise ConfigError(f"checkpoint.choose is '{self.choose}'; expected best or last")
        if self.every_minutes is not None and not self.every_minutes > 0:
            raise ConfigError(
                f"checkpoint.every_minutes is {self.every_minutes}; expected above 0, or null"
            )


class Checkpoints(Callback):
    """Saves the last state and exports the chosen model.

    ``last.ckpt`` is written after each epoch, within it as often as asked, and when a signal asks
    to stop; ``model/`` is the model with the lowest validation WER so far, the lower loss where two
    are equal; or that of the last epoch, where it is asked for or there is no validation.

    Args:
        run: the run's folder.
        every: how often within an epoch, and which epoch's model is exported.
        preemption: tells whether a signal came.
        export: writes a model folder, given its place and facts about the epoch.
    """

    def __init__(
        self,
        run: RunFolder,
        every: Every,
        preemption: Preemption,
        export: Callable[[Path, dict[str, Any]], None],
    ) -> None:
        self.run = run
        self.every = every
        self.preemption = preemption
        self.export = export
        self.chosen = (float("inf"), float("inf"))
        self.chosen_epoch = -1
        self._saved_step = 0
        self._saved_time = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.chosen), "best_epoch": self.chosen_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.chosen = (state_dict["best"][0], state_dict["best"][1])
        self.chosen_epoch = state_dict["best_epoch"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._saved_step = trainer.global_step
        self._saved_time = monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        data = data_of(trainer)
        done, count = batch_idx + 1, data.batch_count(trainer.current_epoch)
        data.note_position(trainer.current_epoch, done)
        # The end of the epoch has a checkpoint of its own, after validation; and between two
        # optimizer steps there are gradients that no checkpoint holds.
        if done == count or done % trainer.accumulate_grad_batches:
            return
        last = done + trainer.accumulate_grad_batches >= count
        wish = highest_over_ranks(trainer, self._wish(trainer, last))
        if wish > 0:
            self._save(trainer)
        if wish > 1:
            raise self.preemption.error(trainer, f"behind batch {done} of {count}")

    def _wish(self, trainer: lightning.Trainer, last: bool) -> int:
        # 2 to save and stop, 1 to save, 0 for neither. Clocks of ranks differ; the first wish wins.
        if self.preemption.received:
            return 2
        seconds = monotonic() - self._saved_time
        limit = self.every.every_minutes
        return int(
            trainer.global_step - self._saved_step >= self.every.every_steps
            or (limit is not None and seconds >= 60 * limit)
            or (last and seconds >= VALIDATION_RISK_SECONDS)
        )

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        data_of(trainer).note_position(trainer.current_epoch + 1, 0)
        summary = module.state_summary()
        nothing = float("nan")
        score = (summary.get("valid_wer", nothing), summary.get("valid_loss", nothing))
        if (
            self.every.choose == "last"
            or not len(data_of(trainer).valid_set)
            or score < self.chosen
        ):
            self.chosen, self.chosen_epoch = score, trainer.current_epoch
            if trainer.is_global_zero:
                self.export(self.run.model, {"epoch": trainer.current_epoch + 1, **summary})
        self._save(trainer)
        over = trainer.current_epoch + 1 == trainer.max_epochs
        if highest_over_ranks(trainer, int(self.preemption.received is not None)) and not over:
            raise self.preemption.error(trainer, "at its end")

    def _save(self, trainer: lightning.Trainer) -> None:
        self._saved_step = trainer.global_step
        beside = self.run.path / ".last.ckpt.part"
        try:
            trainer.save_checkpoint(beside)
            if trainer.is_global_zero:
                # A machine that is taken away must not leave a name without its content.
                with beside.open("rb") as stream:
                    os.fsync(stream.fileno())
                beside.replace(self.run.last_checkpoint)
        finally:
            if trainer.is_global_zero:
                beside.unlink(missing_ok=True)
        # No rank may go on to end before the first one is done.
        trainer.strategy.barrier()
        self._saved_time = monotonic()
