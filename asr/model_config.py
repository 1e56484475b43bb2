"""What a model folder holds beside its weights, read without torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from asr import __version__
from asr.decoding.options import DecoderOptions
from asr.errors import AsrError, ConfigError, ModelFolderError
from asr.files import atomic_write
from asr.schema import build, section
from asr.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
CONFIG_NAME = "config.yaml"
WEIGHTS_NAME = "model.safetensors"
GRAPH_SUFFIXES = (".onnx", ".onnx.data", ".onnx.json")


@dataclass(frozen=True)
class ModelConfig:
    """A model folder without its weights.

    Attributes:
        model: what ``asr.model.build_model`` makes the model from.
        tokenizer: its vocabulary.
        notes: facts about the training.
        decoder: how to decode where a user does not say otherwise.
        export: of an exported model, how it was exported; else None.
    """

    model: dict[str, Any]
    tokenizer: Tokenizer
    notes: dict[str, Any]
    decoder: DecoderOptions
    export: dict[str, Any] | None


def load_config(folder: Path | str) -> ModelConfig:
    """Read a model folder but for its weights; nothing in it is ever executed.

    Args:
        folder: of a trained or of an exported model.

    Raises:
        ModelFolderError: a file is missing, broken, or of a format number not known here.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        kind = section(config, "tokenizer", "tokenizer")["kind"]
        tokenizer = load_tokenizer(kind, folder)
        model = config["model"]
        if config["training"] is None:
            raise ConfigError(f"{CONFIG_NAME} breaks off behind 'training:'; copy the folder again")
        return ModelConfig(
            model,
            tokenizer,
            section(config, "training", "training"),
            build(DecoderOptions, section(config, "decoder", "decoder"), "decoder"),
            section(config, "export", "export") or None,
        )
    except KeyError as error:
        raise ModelFolderError(f"{folder / CONFIG_NAME} lacks the key {error}") from error
    except AsrError as error:
        raise ModelFolderError(f"model folder {folder} is damaged: {error}") from error


def save_decoder_options(folder: Path | str, decoder: DecoderOptions) -> None:
    """Replace the decoder's defaults of a model folder, and nothing else in it.

    Args:
        folder: a model folder.
        decoder: what to write.

    Raises:
        ModelFolderError: the folder is none, or of a format number not known here.
        OSError: its configuration cannot be written; it then stays as it was.
    """
    content = read_config(Path(folder))
    content["decoder"] = asdict(decoder)
    write_config(Path(folder), content)


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a model folder's configuration.

    Args:
        folder: the folder.
        content: all keys and values.

    Raises:
        OSError: it cannot be written; an older one stays as it was.
    """
    with atomic_write(folder / CONFIG_NAME) as stream:
        yaml.safe_dump(dict(content), stream, sort_keys=False, allow_unicode=True)


def holds_weights(path: Path) -> bool:
    """Tell whether a file of a model folder is one of those that say what the model computes."""
    return path.name == WEIGHTS_NAME or path.name.endswith(GRAPH_SUFFIXES)


def model_digest(folder: Path | str) -> str:
    """Give the SHA-256, in hexadecimal digits, of all that a model folder's output depends on.

    Args:
        folder: of a trained or of an exported model.

    Raises:
        ModelFolderError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(folder).iterdir()):
            known = path.name == CONFIG_NAME or holds_weights(path)
            if known or path.name.startswith("tokenizer."):
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    except OSError as error:
        raise ModelFolderError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's configuration as plain values.

    Args:
        folder: the folder.

    Raises:
        ModelFolderError: the file is missing, broken, or of a format number not known here.
    """
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
