"""The mean of the weights of several epochs, which errs less than the best of them alone.

Source: checkpoint averaging as in Vaswani et al. 2017 (section 6.1) and its many users in speech
recognition; stochastic weight averaging (Izmailov et al. 2018) says why it helps.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import safetensors.torch
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from asr.errors import ConfigError, TrainingError
from asr.files import atomic_write
from asr.model_folder import load_model, save_model
from asr.training.module import CTCTraining

WEIGHTS, INDEX = "weights", "index.json"
CHOICES = ("best", "last")


@dataclass(frozen=True)
class KeptEpoch:
    """Weights of one epoch that a run has kept.

    Attributes:
        epoch: from 1.
        wer: on the validation set, in percent; NaN where there is none.
        loss: on the validation set, likewise.
        file: below the run's folder of weights.
    """

    epoch: int
    wer: float
    loss: float
    file: str


class KeptWeights(Callback):
    """Keeps the weights of some epochs in ``RUN/weights``, for ``average_run``.

    Args:
        folder: the run's folder.
        epochs: how many epochs' weights to keep; 0 for none.
        choose: "best", those with the lowest validation WER, or "last".

    Raises:
        ConfigError: another choice, or a negative number.
    """

    def __init__(self, folder: Path, epochs: int = 0, choose: str = "best") -> None:
        if epochs < 0:
            raise ConfigError(f"averaging.epochs is {epochs}; expected 0 or more")
        if choose not in CHOICES:
            raise ConfigError(f"averaging.choose is '{choose}'; expected best or last")
        self.folder = folder / WEIGHTS
        self.epochs = epochs
        self.choose = choose

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        if not self.epochs or not trainer.is_global_zero:
            return
        summary = module.state_summary()
        epoch = trainer.current_epoch + 1
        nothing = float("nan")
        wer, loss = summary.get("valid_wer", nothing), summary.get("valid_loss", nothing)
        new = KeptEpoch(epoch, wer, loss, f"epoch-{epoch:04d}.safetensors")
        # A restart may repeat an epoch whose weights were kept already.
        others = [old for old in kept_epochs(self.folder) if old.epoch < epoch]
        kept = self._choose([*others, new])
        if new in kept:
            weights = module.result.state_dict()
            content = {name: value.cpu().contiguous() for name, value in weights.items()}
            with atomic_write(self.folder / new.file, "wb") as stream:
                stream.write(safetensors.torch.save(content))
        with atomic_write(self.folder / INDEX) as stream:
            json.dump([asdict(one) for one in kept], stream, indent=1)
        for path in self.folder.glob("epoch-*.safetensors"):
            if path.name not in {one.file for one in kept}:
                path.unlink()

    def _choose(self, epochs: list[KeptEpoch]) -> list[KeptEpoch]:
        if self.choose == "last":
            return epochs[-self.epochs :]
        best = sorted(epochs, key=lambda one: (one.wer, one.loss, one.epoch))[: self.epochs]
        return sorted(best, key=lambda one: one.epoch)


def kept_epochs(folder: Path) -> list[KeptEpoch]:
    """List the epochs whose weights a folder holds.

    Args:
        folder: ``RUN/weights``.

    Returns:
        In their order; none where there is no such folder.
    """
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [KeptEpoch(**entry) for entry in entries]


def average_checkpoints(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Average weights, in float64.

    Args:
        paths: safetensors files of one model at several times.

    Returns:
        The mean of each tensor, in the type it had; of integer tensors the last file's.

    Raises:
        TrainingError: no file, one that cannot be read, or files of different models.
    """
    if not paths:
        raise TrainingError("there are no weights to average; set averaging.epochs and train")
    sums: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for path in paths:
        try:
            last = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise TrainingError(f"the weights {path} cannot be read: {error}") from error
        shapes = {name: value.shape for name, value in last.items()}
        if sums and shapes != {name: value.shape for name, value in sums.items()}:
            raise TrainingError(f"the weights {path} are not of the same model as {paths[0]}")
        for name, value in last.items():
            sums[name] = value.double() + sums.get(name, 0)
    return {
        name: (sums[name] / len(paths)).to(value.dtype) if value.is_floating_point() else value
        for name, value in last.items()
    }


def average_run(folder: Path, out: Path) -> list[KeptEpoch]:
    """Write the model folder of a run's averaged weights.

    Args:
        folder: the run's folder.
        out: the model folder to make or replace.

    Returns:
        The epochs that went into it.

    Raises:
        TrainingError: the run has kept no weights, or they cannot be read.
        ModelFolderError: the run has no model, or ``out`` holds something else.
    """
    epochs = kept_epochs(folder / WEIGHTS)
    if not epochs:
        raise TrainingError(
            f"{folder} keeps no weights of single epochs; train with averaging.epochs=10 or so"
        )
    saved = load_model(folder / "model")
    weights = average_checkpoints([folder / WEIGHTS / one.file for one in epochs])
    with torch.no_grad():
        saved.model.load_state_dict(weights)
    best = min(epochs, key=lambda one: (one.wer, one.loss))
    notes: dict[str, Any] = {
        **{name: value for name, value in saved.notes.items() if name in ("name", "seed")},
        "averaged_epochs": [one.epoch for one in epochs],
        "best_epoch": best.epoch,
        "best_valid_wer": best.wer,
    }
    save_model(out, saved.model, saved.tokenizer, saved.config, notes, saved.decoder)
    return epochs
