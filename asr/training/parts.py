"""A plain configuration becomes the parts of a training run, all checked before the first step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn

from asr.augment import Equalizer, FrequencyWarp, SpecAugment
from asr.data import TokenizedTranscripts
from asr.decoding.options import DecoderOptions
from asr.errors import ConfigError, TrainingError
from asr.manifest import CompactUtterances, Utterance, read_manifest
from asr.model import CTCModel, build_model
from asr.schema import build, build_of_one, check_keys
from asr.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from asr.training.averaging import KeptWeights
from asr.training.checkpoints import Every
from asr.training.data import SpeechData
from asr.training.loggers import Logging
from asr.training.module import CTCTraining
from asr.training.run import RunFolder, is_main_process
from asr.training.sound import sound_augmentation, speed_perturbation, utterance_joining
from asr.training.tasks import auxiliary_losses
from asr.training.trained import start_from, take_encoder, vocabulary_of

SECTIONS = (
    "name",
    "seed",
    "output_dir",
    "init_from",
    "init_encoder_from",
    "data",
    "tokenizer",
    "model",
    "augment",
    "auxiliary",
    "optimizer",
    "decoder",
    "trainer",
    "checkpoint",
    "averaging",
    "logging",
)


AUGMENTATIONS = ("join", "speed", "room", "noise", "warp", "equalizer", "specaugment")


@dataclass(frozen=True)
class Parts:
    """What a training run consists of.

    Attributes:
        module: the model with its losses and optimizer.
        data: the batches.
        tokenizer: the vocabulary.
        trainer_options: arguments of ``lightning.Trainer``.
        every: how often a checkpoint is written.
        logging: what records are kept.
        kept: keeps the weights of some epochs.
    """

    module: CTCTraining
    data: SpeechData
    tokenizer: Tokenizer
    trainer_options: dict[str, Any]
    every: Every
    logging: Logging
    kept: KeptWeights


@dataclass(frozen=True)
class Expected:
    """What is known of data before there is any.

    Attributes:
        utterances: stand-ins without texts, by the path of the manifest that will list them.
        tokenizer: of the size that the vocabulary will have.
    """

    utterances: Mapping[str, Sequence[Utterance]]
    tokenizer: Tokenizer


def build_parts(
    config: Mapping[str, Any], run: RunFolder, expected: Expected | None = None
) -> Parts:
    """Build and check everything that training needs; nothing is written.

    Args:
        config: plain values as in ``conf/train.yaml``.
        run: its tokenizer is used if it has one already.
        expected: stands for data that is not there yet.

    Raises:
        ConfigError: an unknown key, a missing or impossible value.
        ManifestError, TokenizerError, TrainingError: the data does not fit.
    """
    seed = whole_number(config["seed"], "seed", least=0)
    data_options = dict(config["data"])
    stand_ins = expected.utterances if expected else {}
    train_set = _manifests(data_options.pop("train", None), "data.train", stand_ins)
    valid_set = _manifests(data_options.pop("valid", None), "data.valid", stand_ins)
    _check_apart(train_set, valid_set)
    start, encoder = (None, None) if expected else _starts(config, run)
    tokenizer = expected.tokenizer if expected else _tokenizer(config, train_set, run, start)
    augment = config["augment"]
    check_keys(augment, AUGMENTATIONS, "augment")
    lightning.seed_everything(seed, verbose=False)
    model = _model(config["model"], tokenizer, start, encoder)
    skip = data_options.pop("skip_infeasible", False)
    transcripts = TokenizedTranscripts.encode(train_set, tokenizer)
    feasible, transcripts = _feasible(train_set, transcripts, model, skip)
    kept_set = CompactUtterances.of(feasible)
    data = build(
        SpeechData,
        data_options,
        "data",
        train=kept_set,
        transcripts=transcripts,
        valid=valid_set,
        tokenizer=tokenizer,
        sample_rate=model.sample_rate,
        speed=speed_perturbation(augment),
        sound=sound_augmentation(augment, kept_set, model.sample_rate),
        join=utterance_joining(augment, kept_set, tokenizer),
        seed=seed,
    )
    module = build(
        CTCTraining,
        config["optimizer"],
        "optimizer",
        model=model,
        tokenizer=tokenizer,
        augment=feature_augmentation(augment, model),
        tasks=auxiliary_losses(config["auxiliary"], kept_set, model, tokenizer),
        decoder=build(DecoderOptions, config.get("decoder", {}), "decoder"),
        seed=seed,
    )
    every = build(Every, config["checkpoint"], "checkpoint")
    kept = _kept_weights(config, run, bool(valid_set))
    records = build(Logging, config.get("logging", {}), "logging")
    options = _trainer_options(config, bool(valid_set))
    return Parts(module, data, tokenizer, options, every, records, kept)


def feature_augmentation(options: Mapping[str, Any], model: CTCModel) -> list[nn.Module]:
    """Build what changes training features, in the order it is applied.

    Args:
        options: the config's ``augment``; what changes waveforms is not looked at.
        model: tells the frequencies of the bands.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    found: list[nn.Module] = []
    if (widest := options.get("warp")) is not None:
        centres = model.features.band_centres()
        found.append(build_of_one(FrequencyWarp, widest, "augment.warp", centres=centres))
    if (deviation := options.get("equalizer")) is not None:
        unit = model.features.unit_db
        found.append(build_of_one(Equalizer, deviation, "augment.equalizer", unit_db=unit))
    if (masks := options.get("specaugment")) is not None:
        found.append(build(SpecAugment, masks, "augment.specaugment"))
    return found


def whole_number(value: Any, where: str, least: int) -> int:
    """Check that a value is a whole number.

    Raises:
        ConfigError: it is none, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{where} is {value!r}; expected a whole number, {least} or more")
    return value


def _manifests(
    paths: Any, where: str, stand_ins: Mapping[str, Sequence[Utterance]]
) -> list[Utterance]:
    if where == "data.valid" and isinstance(paths, list) and not paths:
        # An empty list says so in as many words; a manifest that was forgotten does not.
        return []
    if not paths:
        without = "; [] trains without validation" if where == "data.valid" else ""
        raise ConfigError(f"{where} names no manifest; `asr prepare` writes them{without}")
    paths = [paths] if isinstance(paths, str) else list(paths)
    utterances = [
        utterance
        for path in paths
        for utterance in (stand_ins[path] if path in stand_ins else read_manifest(path))
    ]
    if len({utterance.id for utterance in utterances}) < len(utterances):
        raise ConfigError(f"{where}: an id stands in more than one of {', '.join(paths)}")
    return utterances


def _trainer_options(config: Mapping[str, Any], validates: bool) -> dict[str, Any]:
    options = dict(config["trainer"])
    whole_number(options.get("max_epochs"), "trainer.max_epochs", least=1)
    return options if validates else {**options, "limit_val_batches": 0}


def _kept_weights(config: Mapping[str, Any], run: RunFolder, validates: bool) -> KeptWeights:
    kept = build(KeptWeights, config.get("averaging", {}), "averaging", folder=run.path)
    if kept.epochs and kept.choose == "best" and not validates:
        raise ConfigError(
            "averaging.choose is 'best', which needs data.valid to tell; expected 'last'"
        )
    return kept


def _check_apart(train_set: Sequence[Utterance], valid_set: Sequence[Utterance]) -> None:
    both = {u.id for u in train_set} & {u.id for u in valid_set}
    if both:
        raise TrainingError(
            f"{len(both)} utterances stand in data.train and in data.valid, such as "
            f"'{min(both)}'; an error measured on training data says nothing"
        )
    heard = {u.speaker for u in train_set} & {u.speaker for u in valid_set} - {""}
    if heard and is_main_process():
        print(
            f"note: speakers {', '.join(sorted(heard)[:5])} are in data.train and in data.valid; "
            "the dev WER will be lower than for new voices"
        )


def _starts(config: Mapping[str, Any], run: RunFolder) -> tuple[Path | None, Path | None]:
    """Give the folders of the model and of the encoder that training starts from."""
    keys = ("init_from", "init_encoder_from")
    for key in keys:
        if not isinstance(folder := config.get(key), str | None):
            raise ConfigError(f"{key} is {folder!r}; expected a model folder, or null")
    if all(config.get(key) for key in keys):
        raise ConfigError(f"{' and '.join(keys)} are both given; expected one of them")
    # A run that goes on has weights of its own.
    new = not run.last_checkpoint.exists()
    model, encoder = (Path(config[key]) if new and config.get(key) else None for key in keys)
    return model, encoder


def _model(
    config: Mapping[str, Any], tokenizer: Tokenizer, start: Path | None, encoder: Path | None
) -> CTCModel:
    model = build_model(config, tokenizer.vocabulary_size)
    if start:
        start_from(start, model, tokenizer, config)
    if encoder:
        take_encoder(encoder, model, config)
    return model


def _tokenizer(
    config: Mapping[str, Any], train_set: Sequence[Utterance], run: RunFolder, start: Path | None
) -> Tokenizer:
    options = config["tokenizer"]
    check_keys(options, ("kind", "vocabulary_size", "model_type", "folder"), "tokenizer")
    if run.tokenizer.exists():
        return load_tokenizer(options["kind"], run.tokenizer)
    if options.get("folder"):
        return load_tokenizer(options["kind"], Path(options["folder"]))
    if start:
        return vocabulary_of(start, options["kind"])
    texts = (utterance.text for utterance in train_set)
    return train_tokenizer(
        options["kind"], texts, options.get("vocabulary_size"), options.get("model_type")
    )


def _feasible(
    utterances: Sequence[Utterance],
    transcripts: TokenizedTranscripts,
    model: CTCModel,
    skip: bool,
) -> tuple[Sequence[Utterance], TokenizedTranscripts]:
    if not isinstance(skip, bool):
        raise ConfigError(f"data.skip_infeasible is {skip!r}; expected true or false")
    # Fewer encoder frames than tokens and repeats: CTC has no alignment at all.
    seconds = np.array([utterance.duration for utterance in utterances])
    samples = torch.from_numpy((seconds * model.sample_rate).astype(np.int64))
    have, need = model.frame_lengths(samples).numpy(), transcripts.required_frames()
    if (have >= need).all():
        return utterances, transcripts
    kept = np.flatnonzero(have >= need).tolist()
    short = [
        f"'{utterances[index].id}' ({have[index]} frames, {need[index]} needed)"
        for index in np.flatnonzero(have < need).tolist()
    ]
    if not skip:
        raise TrainingError(
            f"{len(short)} utterances are too short for their transcripts: {', '.join(short[:5])}; "
            "lower model.encoder.subsampling, or leave them out with data.skip_infeasible=true"
        )
    if is_main_process():
        print(f"left out, too short for their transcripts: {len(short)}: {', '.join(short)}")
    if not kept:
        raise TrainingError("no utterance is left to train on")
    return [utterances[index] for index in kept], transcripts.chosen(kept)
