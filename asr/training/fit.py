"""From a plain configuration to a trained model folder."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from asr.errors import PreemptedError
from asr.model_folder import save_model
from asr.schema import check_keys
from asr.training.agreement import Agreement
from asr.training.auto_batch import AutoBatch
from asr.training.checkpoints import Checkpoints
from asr.training.curves import Curves
from asr.training.interruption import interruptible
from asr.training.loggers import StepTable, finish
from asr.training.parts import SECTIONS, Parts, build_parts
from asr.training.pictures import Pictures
from asr.training.preemption import Preemption
from asr.training.report import Report
from asr.training.run import RunFolder
from asr.training.trainer import (
    end_helpers,
    explain_lost_process,
    is_helper,
    make_trainer,
    quiet_lightning,
)


@dataclass(frozen=True)
class TrainingResult:
    """How a training run ended.

    Attributes:
        model: the folder of the model with the lowest validation WER, or of the last epoch's.
        wer: its WER in percent; NaN where nothing was held out.
        best: whether its epoch was chosen by that WER.
        epoch: the epoch it comes from, from 1.
        resumed: whether the run had been begun before.
    """

    model: Path
    wer: float
    best: bool
    epoch: int
    resumed: bool

    @property
    def outcome(self) -> str:
        """The result in words."""
        if math.isnan(self.wer):
            return f"nothing held out, no dev WER; epoch {self.epoch}, the last"
        kind = "best dev WER" if self.best else "dev WER"
        return f"{kind} {self.wer:.2f} % in epoch {self.epoch}{'' if self.best else ', the last'}"


def train(config: Mapping[str, Any]) -> TrainingResult:
    """Train a model, or go on where an earlier call with the same configuration stopped.

    Args:
        config: plain values as in ``conf/train.yaml``.

    Returns:
        Where the chosen model lies and its error.

    Raises:
        ConfigError: an unknown key, a missing or impossible value.
        ManifestError, TokenizerError: the data does not fit.
        TrainingError: the output folder belongs to another run, or the loss became NaN.
    """
    check_keys(config, SECTIONS, "config")
    quiet_lightning()
    run = RunFolder(Path(str(config["output_dir"])).absolute())
    resumed = run.check(config)
    parts = build_parts(config, run)
    preemption = Preemption()
    checkpoints = _checkpoints(parts, run, config, preemption)
    start = str(run.last_checkpoint) if run.last_checkpoint.exists() else None
    batches = AutoBatch(fresh=start is None)
    callbacks = [batches, *_callbacks(parts, run), preemption, checkpoints]
    loggers = parts.logging.loggers(run.path, str(config["name"]))
    trainer = make_trainer(parts.trainer_options, run.path, callbacks, loggers)
    if trainer.is_global_zero and not resumed:
        run.begin(config)
        parts.tokenizer.save(run.tokenizer)
        parts.logging.remember(run.path)
    with run.locked() if trainer.is_global_zero else nullcontext():
        try:
            _fit(trainer, parts, start)
        finally:
            finish(loggers)
    best = parts.every.choose == "best"
    wer, epoch = checkpoints.chosen[0], checkpoints.chosen_epoch + 1
    return TrainingResult(run.model, wer, best, epoch, resumed)


def _checkpoints(
    parts: Parts, run: RunFolder, config: Mapping[str, Any], preemption: Preemption
) -> Checkpoints:
    def export(folder: Path, facts: dict[str, Any]) -> None:
        notes = {"name": config["name"], "seed": config["seed"], **facts}
        module = parts.module
        half = parts.every.half
        save_model(
            folder, module.result, parts.tokenizer, config["model"], notes, module.decoder, half
        )

    return Checkpoints(run, parts.every, preemption, export)


def _callbacks(parts: Parts, run: RunFolder) -> list[Callback]:
    table = StepTable(run.path / "steps.csv") if parts.logging.csv else None
    pictures = [Pictures()] if parts.logging.pictures else []
    return [Agreement(run, parts.tokenizer), Report(run), Curves(table), *pictures, parts.kept]


def _fit(trainer: lightning.Trainer, parts: Parts, start: str | None) -> None:
    try:
        with interruptible(trainer):
            # The checkpoint is this run's own, and older Lightning states hold more than tensors.
            trainer.fit(parts.module, datamodule=parts.data, ckpt_path=start, weights_only=False)
    except SIGTERMException as error:
        raise PreemptedError("stopped by SIGTERM before the first step") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        end_helpers(trainer)
        if isinstance(error, PreemptedError) and not trainer.is_global_zero:
            # One of the processes tells it. Lightning kills the one that started the others as soon
            # as it sees one end with another code than 0.
            raise SystemExit(0 if is_helper(trainer) else error.exit_code) from error
        if isinstance(error, RuntimeError) and (lost := explain_lost_process(error, trainer)):
            raise lost from error
        raise
