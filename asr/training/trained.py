"""Models that were trained before: where training starts, or what teaches another model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.model import CTCModel, complete_config
from asr.model_config import load_config
from asr.model_folder import SavedModel, load_model
from asr.tokenizer import Tokenizer


def load_alike(
    folder: Path | str, model: CTCModel, tokenizer: Tokenizer | None, where: str
) -> SavedModel:
    """Load a model that hears the same features and tells the same tokens of the same frames.

    Args:
        folder: a model folder.
        model: what it has to be like; sizes of the encoder do not matter.
        tokenizer: the vocabulary it has to have; None: any.
        where: the place in the config that names the folder, for messages.

    Raises:
        ConfigError: the model is another one; names what differs.
        ModelFolderError: it cannot be read.
    """
    saved = load_model(folder)
    there, here = _hearing(saved.model), _hearing(model)
    if tokenizer is not None:
        there, here = there | _vocabulary(saved.tokenizer), here | _vocabulary(tokenizer)
    differing = [
        f"{name} ({there[name]} there, {here[name]} here)"
        for name in here
        if there[name] != here[name]
    ]
    if not differing and tokenizer is not None and saved.tokenizer.pieces != tokenizer.pieces:
        pairs = zip(saved.tokenizer.pieces, tokenizer.pieces, strict=True)
        place, (their, our) = next(p for p in enumerate(pairs) if p[1][0] != p[1][1])
        differing = [f"token {place} ('{their}' there, '{our}' here)"]
    if differing:
        expected = "features and frame rate"
        if tokenizer is not None:
            expected = "features, frame rate and tokens (tokenizer.folder takes another model's)"
        raise ConfigError(
            f"{where} names {folder}, which differs in {', '.join(differing)}; expected a model of "
            f"the same {expected}"
        )
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
    _check_encoder(folder, saved, config, "init_from")
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
    saved = load_alike(folder, model, None, "init_encoder_from")
    _check_encoder(folder, saved, config, "init_encoder_from")
    model.encoder.load_state_dict(saved.model.encoder.state_dict())


def _check_encoder(
    folder: Path | str, saved: SavedModel, config: Mapping[str, Any], where: str
) -> None:
    there, here = (complete_config(c)["encoder"] for c in (saved.config, config))
    differing = [
        f"model.encoder.{key} ({there.get(key)!r} there, {here.get(key)!r} here)"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key not in ("dropout", "checkpoint_frames")
    ]
    if differing:
        raise ConfigError(
            f"{where} names {folder}, which differs in {', '.join(differing)}; expected the same"
        )


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
