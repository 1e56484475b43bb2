"""A trained model is a folder: configuration, vocabulary and weights, read by torch alone."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from asr import __version__
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.errors import AsrError, ConfigError, ModelFolderError
from asr.files import atomic_folder, atomic_write
from asr.model import CTCModel, build_model, complete_config
from asr.schema import build, section
from asr.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
CONFIG_NAME = "config.yaml"
WEIGHTS_NAME = "model.safetensors"


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
) -> None:
    """Write a model folder: config, vocabulary and weights, whole or not at all.

    Args:
        folder: an existing model folder is replaced.
        model: its weights are saved from whatever device they are on.
        tokenizer: saved beside them.
        config: what ``build_model`` made the model from.
        notes: facts about the training, plain values.
        decoder: how to decode where a user does not say otherwise.

    Raises:
        ModelFolderError: the folder exists and holds other things than a model.
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
        _write_config(place, content)


def save_decoder_options(folder: Path | str, decoder: DecoderOptions) -> None:
    """Replace the decoder's defaults of a model folder, and nothing else in it.

    Args:
        folder: a model folder.
        decoder: what to write.

    Raises:
        ModelFolderError: the folder is none, or of a format number not known here.
        OSError: its configuration cannot be written; it then stays as it was.
    """
    content = _read_config(Path(folder))
    content["decoder"] = asdict(decoder)
    _write_config(Path(folder), content)


def _write_config(folder: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(folder / CONFIG_NAME) as stream:
        yaml.safe_dump(dict(content), stream, sort_keys=False, allow_unicode=True)


def load_model(folder: Path | str) -> SavedModel:
    """Read a model folder; nothing in it is ever executed.

    Args:
        folder: as ``save_model`` wrote it.

    Raises:
        ModelFolderError: a file is missing, broken, or of a format number not known here.
    """
    folder = Path(folder)
    config = _read_config(folder)
    try:
        kind = section(config, "tokenizer", "tokenizer")["kind"]
        tokenizer = load_tokenizer(kind, folder)
        model = build_model(config["model"], tokenizer.vocabulary_size)
        if config["training"] is None:
            raise ConfigError(f"{CONFIG_NAME} breaks off behind 'training:'; copy the folder again")
        notes = section(config, "training", "training")
        decoder = build(DecoderOptions, section(config, "decoder", "decoder"), "decoder")
    except KeyError as error:
        raise ModelFolderError(f"{folder / CONFIG_NAME} lacks the key {error}") from error
    except AsrError as error:
        raise ModelFolderError(f"model folder {folder} is damaged: {error}") from error
    _load_weights(model, folder / WEIGHTS_NAME)
    return SavedModel(model, tokenizer, config["model"], notes, decoder)


def model_digest(folder: Path | str) -> str:
    """Give the SHA-256, in hexadecimal digits, of all that a model folder's output depends on.

    Args:
        folder: as ``save_model`` wrote it.

    Raises:
        ModelFolderError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(folder).iterdir()):
            if path.name in (CONFIG_NAME, WEIGHTS_NAME) or path.name.startswith("tokenizer."):
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    except OSError as error:
        raise ModelFolderError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


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


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no model folder: it lacks {CONFIG_NAME}; `asr train` writes one as "
            "RUN/model"
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelFolderError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ModelFolderError(
            f"{path} says format {found!r}, this version of asr ({__version__}) reads format "
            f"{FORMAT}; use the version that wrote the model"
        )
    return dict(config)
