"""Progress while an epoch runs, and its figures when it ends."""

import json
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tqdm import tqdm

from asr.data import Batch
from asr.files import atomic_write
from asr.training.agreement import gathered
from asr.training.data import data_of
from asr.training.module import CTCTraining
from asr.training.run import RunFolder


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

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, CTCTraining)
        if trainer.is_global_zero:
            data, tokenizer = data_of(trainer), module.tokenizer
            hours = sum(u.duration for u in data.train_set.utterances) / 3600
            print(
                f"{'going on' if trainer.global_step else 'training'} in {self.run.path}\n"
                f"{module.model.parameter_count() / 1e6:.2f} M parameters, "
                f"{tokenizer.vocabulary_size} tokens ({tokenizer.kind}), "
                f"{len(data.train_set)} utterances ({hours:.2f} h) to train on, "
                f"{len(data.valid_set)} to validate on, {data.batch_count(0)} batches of "
                f"{data.sampler.batch_seconds:g} s an epoch, "
                f"{100 * data.sampler.padding_share(0):.1f} % padding",
                flush=True,
            )

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
            self._bar.set_postfix(loss=f"{module.step_loss:.2f}", refresh=False)
            self._bar.refresh()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        # Each rank knows those of its own batches.
        infeasible = set().union(*gathered(module.infeasible))
        without_phonemes = set().union(*gathered(module.without_phonemes))
        record = {
            "epoch": trainer.current_epoch + 1,
            **module.state_summary(),
            "utterances_per_second": self._utterances / max(1e-9, self._train_seconds),
            "audio_hours_per_hour": self._audio_seconds / max(1e-9, self._train_seconds),
            "seconds": time.perf_counter() - self._started,
            "infeasible": len(infeasible),
            "without_phonemes": len(without_phonemes),
        }
        self.records = [*self.records, record]
        for name in ("utterances_per_second", "audio_hours_per_hour"):
            module.log(name, record[name], rank_zero_only=True)
        module.log("train/loss_epoch", record["loss"], rank_zero_only=True)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if trainer.is_global_zero:
            with atomic_write(self.run.history) as stream:
                stream.writelines(json.dumps(line) + "\n" for line in self.records)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    # Two spaces at a line's end break it in TensorBoard's Markdown.
                    pairs = "\n\n".join("  \n".join(sample) for sample in module.tally.samples)
                    logger.experiment.add_text("valid/samples", pairs, trainer.global_step)
            print(
                _epoch_lines(record, module.tally.samples, infeasible, without_phonemes), flush=True
            )

    def on_exception(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _epoch_lines(
    record: dict[str, Any],
    samples: list[tuple[str, str, str]],
    infeasible: set[str],
    without_phonemes: set[str],
) -> str:
    lines = [
        f"epoch {record['epoch']:3d}  loss {record['loss']:.2f}  {_dev(record)}"
        f"lr {record['lr']:.2e}  "
        f"{record['utterances_per_second']:.0f} utt/s  "
        f"{record['audio_hours_per_hour']:.0f} h audio/h  {record['seconds']:.0f} s"
    ]
    for identity, reference, hypothesis in samples:
        lines += [f"    {identity}", f"      ref {reference}", f"      hyp {hypothesis}"]
    if infeasible:
        names = ", ".join(sorted(infeasible)[:5])
        lines.append(
            f"    {len(infeasible)} utterances were too fast for their transcripts after "
            f"speed perturbation and taught nothing: {names}"
        )
    if without_phonemes:
        names = ", ".join(sorted(without_phonemes)[:5])
        lines.append(
            f"    {len(without_phonemes)} utterances were too fast for their phonemes and "
            f"taught only their tokens: {names}"
        )
    return "\n".join(lines)


def _dev(record: dict[str, Any]) -> str:
    if "valid_wer" not in record:
        return ""
    return (
        f"dev loss {record['valid_loss']:.2f}  dev WER {record['valid_wer']:.2f} %  "
        f"dev CER {record['valid_cer']:.2f} %  "
    )
