"""Curves of single steps: loss, gradient, padding, speed and memory."""

import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from asr.data import Batch
from asr.training.loggers import StepTable
from asr.training.memory import peak_memory_mib
from asr.training.module import CTCTraining


class Curves(Callback):
    """Records how training goes, every ``trainer.log_every_n_steps`` optimizer steps.

    Args:
        table: ``steps.csv``, if wanted.
    """

    def __init__(self, table: StepTable | None) -> None:
        self.table = table
        self._norm: Tensor | None = None
        # Since the last record: when it was, and seconds of audio.
        self._since = 0.0
        self._audio = 0.0
        self._recorded = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._since, self._audio = time.perf_counter(), 0.0
        self._recorded = trainer.global_step
        if self.table and trainer.is_global_zero:
            self.table.start(trainer.global_step)

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        # Validation is no part of the speed of training.
        self._since, self._audio = time.perf_counter(), 0.0

    def on_before_optimizer_step(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        # Lightning sets the attribute where mypy does not see it.
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, CTCTraining)
        samples = int(batch.sample_lengths.sum())
        self._audio += samples / module.model.sample_rate * trainer.world_size
        if self._norm is None or trainer.global_step == self._recorded:
            return
        now = time.perf_counter()
        figures = {
            "gradient_norm": float(self._norm),
            "padding_share": 1 - samples / max(1, batch.waveforms.numel()),
            "audio_seconds_per_second": self._audio / max(1e-9, now - self._since),
            "memory_mib": peak_memory_mib(module.device),
        }
        self._norm, self._recorded = None, trainer.global_step
        self._since, self._audio = now, 0.0
        for name, value in figures.items():
            module.log(f"train/{name}", value, rank_zero_only=True)
        if self.table and trainer.is_global_zero:
            (optimizer,) = trainer.optimizers
            self.table.add(
                {
                    "step": trainer.global_step,
                    "epoch": trainer.current_epoch + 1,
                    "loss": module.step_loss,
                    "lr": optimizer.param_groups[0]["lr"],
                    **figures,
                }
            )
