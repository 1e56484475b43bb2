"""Models that were trained before: where training starts, or what teaches another model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.model import CTCModel, complete_config
from asr.model_config import load_config
from asr.model_folder import SavedModel, load_model
from asr.tokenizer import Tokenizer


def load_alike(folder: Path | str, model: CTCModel, tokenizer: Tokenizer, where: str) -> SavedModel:
    """Load a model that hears the same features and tells the same tokens of the same frames.

    Args:
        folder: a model folder.
        model: what it has to be like; sizes of the encoder do not matter.
        tokenizer: the vocabulary it has to have.
        where: the place in the config that names the folder, for messages.

    Raises:
        ConfigError: the model is another one; names what differs.
        ModelFolderError: it cannot be read.
    """
    saved = load_model(folder)
    there = _hearing(saved.model) | _vocabulary(saved.tokenizer)
    differing = _differing(there, _hearing(model) | _vocabulary(tokenizer))
    if not differing and saved.tokenizer.pieces != tokenizer.pieces:
        pairs = zip(saved.tokenizer.pieces, tokenizer.pieces, strict=True)
        place, (their, our) = next(p for p in enumerate(pairs) if p[1][0] != p[1][1])
        differing = [f"token {place} ('{their}' there, '{our}' here)"]
    expected = "features, frame rate and tokens (tokenizer.folder takes another model's)"
    _refuse(differing, f"{where} names {folder}", expected)
    return saved


def vocabulary_of(folder: Path | str, kind: str) -> Tokenizer:
    """Take the vocabulary of the model that training starts from.

    Args:
        folder: a model folder.
        kind: the config's ``tokenizer.kind``.

    Raises:
        ConfigError: the model has a vocabulary of another kind.
        ModelFolderError: it cannot be read.
    """
    tokenizer = load_config(Path(folder)).tokenizer
    if tokenizer.kind != kind:
        raise ConfigError(
            f"init_from names {folder}, whose tokenizer.kind is '{tokenizer.kind}'; here it is "
            f"'{kind}'; choose tokenizer={tokenizer.kind}"
        )
    return tokenizer


def start_from(
    folder: Path | str, model: CTCModel, tokenizer: Tokenizer, config: Mapping[str, Any]
) -> None:
    """Give a fresh model the weights of a trained one.

    Args:
        folder: a model folder.
        model: gets the weights.
        tokenizer: its vocabulary.
        config: what ``build_model`` made the model from; but for dropout and how gates are kept,
            the trained one's has to be the same.

    Raises:
        ConfigError: the models differ; names in what.
        ModelFolderError: the trained one cannot be read.
    """
    saved = load_alike(folder, model, tokenizer, "init_from")
    _refuse(_encoder_differing(saved, config), f"init_from names {folder}", "encoder")
    model.load_state_dict(saved.model.state_dict())


def take_encoder(folder: Path | str, model: CTCModel, config: Mapping[str, Any]) -> None:
    """Give a fresh model the encoder of one that was trained to tell other tokens.

    Args:
        folder: a model folder.
        model: gets the weights of the encoder; its head stays fresh.
        config: as for ``start_from``.

    Raises:
        ConfigError: the models differ in features or encoder; names in what.
        ModelFolderError: the trained one cannot be read.
    """
    saved = load_model(folder)
    differing = _differing(_hearing(saved.model), _hearing(model))
    differing += _encoder_differing(saved, config)
    _refuse(differing, f"init_encoder_from names {folder}", "features and encoder")
    model.encoder.load_state_dict(saved.model.encoder.state_dict())


def _refuse(differing: Sequence[str], named: str, expected: str) -> None:
    if differing:
        raise ConfigError(
            f"{named}, which differs in {', '.join(differing)}; expected a model of the same "
            f"{expected}"
        )


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} ({there.get(key)!r} there, {here.get(key)!r} here)"
        for key in dict.fromkeys([*here, *there])
        if there.get(key) != here.get(key)
    ]


def _encoder_differing(saved: SavedModel, config: Mapping[str, Any]) -> list[str]:
    there, here = (
        {
            f"model.encoder.{key}": value
            for key, value in sorted(complete_config(each)["encoder"].items())
            if key not in ("dropout", "checkpoint_frames")
        }
        for each in (saved.config, config)
    )
    return _differing(there, here)


def _hearing(model: CTCModel) -> dict[str, Any]:
    features = model.features
    return {
        "features.sample_rate": features.sample_rate,
        "features.n_mels": features.n_mels,
        "samples of a window": features.mel.win_length,
        "samples of a hop": features.hop,
        "features.normalize": features.normalize,
        "encoder.subsampling": model.subsampling_factor,
    }


def _vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "kind of tokenizer": tokenizer.kind,
        "number of tokens": tokenizer.vocabulary_size,
    }
