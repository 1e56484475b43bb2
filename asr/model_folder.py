"""A trained model is a folder: configuration, vocabulary and weights, read by torch alone."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from asr import __version__
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.errors import AsrError, ModelFolderError
from asr.files import atomic_folder, atomic_write
from asr.model import CTCModel, build_model, complete_config
from asr.model_config import (
    CONFIG_NAME,
    FORMAT,
    WEIGHTS_NAME,
    load_config,
    write_config,
)
from asr.tokenizer import Tokenizer


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds.

    Attributes:
        model: the model with its trained weights.
        tokenizer: its vocabulary.
        config: what ``build_model`` makes the model from.
        notes: facts about the training.
        decoder: how to decode where a user does not say otherwise.
    """

    model: CTCModel
    tokenizer: Tokenizer
    config: dict[str, Any]
    notes: dict[str, Any]
    decoder: DecoderOptions = DEFAULT_OPTIONS


def save_model(
    folder: Path | str,
    model: CTCModel,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
    decoder: DecoderOptions = DEFAULT_OPTIONS,
    half: bool = False,
) -> None:
    """Write a model folder: config, vocabulary and weights, whole or not at all.

    Args:
        folder: an existing model folder is replaced.
        model: its weights are saved from whatever device they are on.
        tokenizer: saved beside them.
        config: what ``build_model`` made the model from.
        notes: facts about the training, plain values.
        decoder: how to decode where a user does not say otherwise.
        half: whether weights are rounded to float16, which takes half the space; they are computed
            with in float32 all the same.

    Raises:
        ModelFolderError: the folder exists and holds other things than a model; a weight is too
            large for float16.
    """
    folder = Path(folder)
    # Replacing another folder would delete whatever lies in it.
    free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not free and not (folder / CONFIG_NAME).is_file():
        raise ModelFolderError(
            f"{folder} exists and is no model folder; name a new folder to save the model in"
        )
    with atomic_folder(folder) as place:
        tokenizer.save(place)
        weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        if half:
            weights = {name: _rounded(name, value) for name, value in weights.items()}
        # Safetensors' own writer makes files that only their owner may read.
        with atomic_write(place / WEIGHTS_NAME, "wb") as stream:
            stream.write(safetensors.torch.save(weights))
        content = {
            "format": FORMAT,
            "versions": {
                "asr": __version__,
                "torch": torch.__version__.split("+")[0],
                "python": platform.python_version(),
            },
            "model": complete_config(config),
            "tokenizer": {"kind": tokenizer.kind},
            "decoder": asdict(decoder),
            "training": dict(notes or {}),
        }
        write_config(place, content)


def _rounded(name: str, weight: Tensor) -> Tensor:
    if not weight.is_floating_point():
        return weight
    rounded = weight.half()
    if not bool(rounded.isfinite().all()):
        raise ModelFolderError(
            f"'{name}' has a weight of {float(weight.abs().max()):g}, too large for float16; save "
            "the model with checkpoint.half=false"
        )
    return rounded


def load_model(folder: Path | str) -> SavedModel:
    """Read a model folder; nothing in it is ever executed.

    Args:
        folder: as ``save_model`` wrote it.

    Raises:
        ModelFolderError: a file is missing, broken, or of a format number not known here.
    """
    folder = Path(folder)
    saved = load_config(folder)
    if saved.export is not None:
        raise ModelFolderError(
            f"{folder} is an exported model and holds no {WEIGHTS_NAME} for torch; run it with "
            "`asr transcribe --backend onnx`, or name the folder that it was exported from"
        )
    try:
        model = build_model(saved.model, saved.tokenizer.vocabulary_size)
    except AsrError as error:
        raise ModelFolderError(f"model folder {folder} is damaged: {error}") from error
    _load_weights(model, folder / WEIGHTS_NAME)
    return SavedModel(model, saved.tokenizer, saved.model, saved.notes, saved.decoder)


def _load_weights(model: CTCModel, path: Path) -> None:
    try:
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelFolderError(f"the weights {path} cannot be read: {reason}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        # Torch lists every tensor on a line of its own; the first one tells what is wrong.
        lines = [" ".join(line.split()) for line in str(error).splitlines()]
        reason = lines[1] if len(lines) > 1 else lines[0]
        raise ModelFolderError(
            f"the weights {path} do not fit {CONFIG_NAME} beside them: {reason}"
        ) from error
