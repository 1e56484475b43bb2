"""What happens around the steps: checkpoints, the best model's export, and the report."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tqdm import tqdm

from asr.data import Batch
from asr.files import atomic_write
from asr.training.data import data_of
from asr.training.module import CTCTraining
from asr.training.run import RunFolder


class Checkpoints(Callback):
    """Saves the last state and exports the best model.

    ``last.ckpt`` is written after each epoch and every so many steps; ``model/`` is the model with
    the lowest validation WER so far, the lower loss where two are equal.

    Args:
        run: the run's folder.
        every_steps: optimizer steps between checkpoints within an epoch.
        export: writes a model folder, given its place and facts about the epoch.
    """

    def __init__(
        self, run: RunFolder, every_steps: int, export: Callable[[Path, dict[str, Any]], None]
    ) -> None:
        self.run = run
        self.every_steps = every_steps
        self.export = export
        self.best = (float("inf"), float("inf"))
        self.best_epoch = -1
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.best), "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = (state_dict["best"][0], state_dict["best"][1])
        self.best_epoch = state_dict["best_epoch"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._saved_step = trainer.global_step

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
        if trainer.global_step - self._saved_step >= self.every_steps:
            self._save(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        data_of(trainer).note_position(trainer.current_epoch + 1, 0)
        summary = module.state_summary()
        score = (summary["valid_wer"], summary["valid_loss"])
        if score < self.best:
            self.best, self.best_epoch = score, trainer.current_epoch
            if trainer.is_global_zero:
                self.export(self.run.model, {"epoch": trainer.current_epoch + 1, **summary})
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        self._saved_step = trainer.global_step
        beside = self.run.path / ".last.ckpt.part"
        try:
            trainer.save_checkpoint(beside)
            if trainer.is_global_zero:
                beside.replace(self.run.last_checkpoint)
        finally:
            if trainer.is_global_zero:
                beside.unlink(missing_ok=True)


class Report(Callback):
    """Shows progress while an epoch runs and its figures when it ends.

    Args:
        run: the run's folder, whose ``history.jsonl`` gets a line for each epoch.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.records: list[dict[str, Any]] = []
        self._bar: tqdm[Any] | None = None
        self._started = 0.0
        self._utterances = 0
        self._audio_seconds = 0.0
        self._train_seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"records": self.records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.records = list(state_dict["records"])

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        self._begin(trainer)

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        # After a restart in mid-epoch Lightning announces no start of the epoch.
        if self._bar is None and trainer.is_global_zero:
            self._begin(trainer)

    def _begin(self, trainer: lightning.Trainer) -> None:
        self._started = time.perf_counter()
        self._utterances = 0
        self._audio_seconds = 0.0
        if trainer.is_global_zero:
            self._bar = tqdm(
                total=data_of(trainer).batch_count(trainer.current_epoch),
                desc=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
                unit="batch",
                leave=False,
                dynamic_ncols=True,
            )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, CTCTraining)
        self._utterances += batch.total
        seconds = float(batch.sample_lengths.sum()) / module.model.sample_rate
        self._audio_seconds += seconds * trainer.world_size
        self._train_seconds = time.perf_counter() - self._started
        if self._bar is not None:
            self._bar.n = batch_idx + 1
            self._bar.set_postfix(loss=f"{float(outputs['loss']):.2f}", refresh=False)
            self._bar.refresh()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        record = {
            "epoch": trainer.current_epoch + 1,
            **module.state_summary(),
            "utterances_per_second": self._utterances / max(1e-9, self._train_seconds),
            "audio_hours_per_hour": self._audio_seconds / max(1e-9, self._train_seconds),
            "seconds": time.perf_counter() - self._started,
            "infeasible": len(module.infeasible),
            "without_phonemes": len(module.without_phonemes),
        }
        self.records = [*self.records, record]
        for name in ("utterances_per_second", "audio_hours_per_hour"):
            module.log(name, record[name], rank_zero_only=True)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if trainer.is_global_zero:
            with atomic_write(self.run.history) as stream:
                stream.writelines(json.dumps(line) + "\n" for line in self.records)
            if isinstance(trainer.logger, TensorBoardLogger):
                # Two spaces at a line's end break it in TensorBoard's Markdown.
                pairs = "\n\n".join("  \n".join(sample) for sample in module.samples)
                trainer.logger.experiment.add_text("valid/samples", pairs, trainer.global_step)
            print(_epoch_lines(record, module), flush=True)

    def on_exception(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _epoch_lines(record: dict[str, Any], module: CTCTraining) -> str:
    lines = [
        f"epoch {record['epoch']:3d}  loss {record['loss']:.2f}  dev loss "
        f"{record['valid_loss']:.2f}  dev WER {record['valid_wer']:.2f} %  "
        f"dev CER {record['valid_cer']:.2f} %  lr {record['lr']:.2e}  "
        f"{record['utterances_per_second']:.0f} utt/s  "
        f"{record['audio_hours_per_hour']:.0f} h audio/h  {record['seconds']:.0f} s"
    ]
    for identity, reference, hypothesis in module.samples:
        lines += [f"    {identity}", f"      ref {reference}", f"      hyp {hypothesis}"]
    if module.infeasible:
        names = ", ".join(sorted(module.infeasible)[:5])
        lines.append(
            f"    {len(module.infeasible)} utterances were too fast for their transcripts after "
            f"speed perturbation and taught nothing: {names}"
        )
    if module.without_phonemes:
        names = ", ".join(sorted(module.without_phonemes)[:5])
        lines.append(
            f"    {len(module.without_phonemes)} utterances were too fast for their phonemes and "
            f"taught only their tokens: {names}"
        )
    return "\n".join(lines)
