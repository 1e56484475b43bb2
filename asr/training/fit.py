"""From a plain configuration to a trained model folder."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from asr.augment import FrequencyWarp, SpecAugment, SpeedPerturbation
from asr.ctc import required_frames
from asr.errors import ConfigError, TrainingError
from asr.manifest import Utterance, read_manifest
from asr.model import CTCModel, build_model
from asr.model_folder import save_model
from asr.schema import build, check_keys
from asr.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from asr.training.auxiliary import PhonemeLoss
from asr.training.averaging import KeptWeights
from asr.training.callbacks import Checkpoints, Report
from asr.training.data import SpeechData
from asr.training.module import CTCTraining
from asr.training.run import RunFolder, is_main_process

SECTIONS = (
    "name",
    "seed",
    "output_dir",
    "data",
    "tokenizer",
    "model",
    "augment",
    "auxiliary",
    "optimizer",
    "trainer",
    "checkpoint",
    "averaging",
)


@dataclass(frozen=True)
class TrainingResult:
    """How a training run ended.

    Attributes:
        model: the folder of the model with the lowest validation WER.
        wer: that WER in percent.
        epoch: the epoch it comes from, from 1.
        resumed: whether the run had been begun before.
    """

    model: Path
    wer: float
    epoch: int
    resumed: bool


@dataclass(frozen=True)
class _Parts:
    # Everything that training needs, built and checked before anything is written.
    module: CTCTraining
    data: SpeechData
    tokenizer: Tokenizer
    trainer_options: dict[str, Any]
    every_steps: int
    kept: KeptWeights


def train(config: Mapping[str, Any]) -> TrainingResult:
    """Train a model, or go on where an earlier call with the same configuration stopped.

    Args:
        config: plain values as in ``conf/train.yaml``.

    Returns:
        Where the best model lies and its error.

    Raises:
        ConfigError: an unknown key, a missing or impossible value.
        ManifestError, TokenizerError: the data does not fit.
        TrainingError: the output folder belongs to another run, or the loss became NaN.
    """
    check_keys(config, SECTIONS, "config")
    _quiet()
    run = RunFolder(Path(str(config["output_dir"])).absolute())
    resumed = run.check(config)
    parts = _build(config, run)
    trainer, checkpoints = _trainer(parts, run, config)
    if trainer.is_global_zero and not resumed:
        run.begin(config)
        parts.tokenizer.save(run.tokenizer)
    start = str(run.last_checkpoint) if run.last_checkpoint.exists() else None
    with run.locked() if trainer.is_global_zero else nullcontext():
        if trainer.is_global_zero:
            _announce(parts, run, start)
        # The checkpoint is this run's own, and older Lightning states hold more than tensors.
        try:
            trainer.fit(parts.module, datamodule=parts.data, ckpt_path=start, weights_only=False)
        except SystemExit:
            # Lightning ends the process with code 1 when it is interrupted.
            if not trainer.interrupted:
                raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    return TrainingResult(run.model, checkpoints.best[0], checkpoints.best_epoch + 1, resumed)


def _build(config: Mapping[str, Any], run: RunFolder) -> _Parts:
    seed = _whole_number(config["seed"], "seed", least=0)
    data_options = dict(config["data"])
    train_set = _manifests(data_options.pop("train", None), "data.train")
    valid_set = _manifests(data_options.pop("valid", None), "data.valid")
    _check_apart(train_set, valid_set)
    tokenizer = _tokenizer(config["tokenizer"], train_set, run)
    check_keys(config["augment"], ("speed", "warp", "specaugment"), "augment")
    factors = config["augment"].get("speed")
    speed = factors and build(SpeedPerturbation, {"factors": factors}, "augment.speed")
    lightning.seed_everything(seed, verbose=False)
    model = build_model(config["model"], tokenizer.vocabulary_size)
    skip = data_options.pop("skip_infeasible", False)
    if not isinstance(skip, bool):
        raise ConfigError(f"data.skip_infeasible is {skip!r}; expected true or false")
    train_set = _feasible(train_set, tokenizer, model, skip)
    data = build(
        SpeechData,
        data_options,
        "data",
        train=train_set,
        valid=valid_set,
        tokenizer=tokenizer,
        sample_rate=model.sample_rate,
        speed=speed,
        seed=seed,
    )
    module = build(
        CTCTraining,
        config["optimizer"],
        "optimizer",
        model=model,
        tokenizer=tokenizer,
        augment=feature_augmentation(config["augment"], model),
        auxiliary=phoneme_loss(config["auxiliary"], train_set, model),
        seed=seed,
    )
    check_keys(config["checkpoint"], ("every_steps",), "checkpoint")
    every_steps = _whole_number(config["checkpoint"]["every_steps"], "checkpoint.every_steps", 1)
    kept = build(KeptWeights, config.get("averaging", {}), "averaging", folder=run.path)
    return _Parts(module, data, tokenizer, dict(config["trainer"]), every_steps, kept)


def feature_augmentation(options: Mapping[str, Any], model: CTCModel) -> list[nn.Module]:
    """Build what changes training features, in the order it is applied.

    Args:
        options: the config's ``augment``; ``speed`` is not looked at, it changes waveforms.
        model: tells the frequencies of the bands.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    found: list[nn.Module] = []
    if (widest := options.get("warp")) is not None:
        centres = model.features.band_centres()
        found.append(build(FrequencyWarp, {"widest": widest}, "augment.warp", centres=centres))
    if (masks := options.get("specaugment")) is not None:
        found.append(build(SpecAugment, masks, "augment.specaugment"))
    return found


def phoneme_loss(
    options: Mapping[str, Any], train_set: Sequence[Utterance], model: CTCModel
) -> PhonemeLoss | None:
    """Build the second task, if the config asks for one.

    Args:
        options: the config's ``auxiliary``.
        train_set: tells the words.
        model: tells the size and number of its layers.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    check_keys(options, ("phonemes",), "auxiliary")
    if options.get("phonemes") is None:
        return None
    texts = [utterance.text for utterance in train_set]
    width, layers = model.encoder.width, len(model.encoder.layers)
    where = "auxiliary.phonemes"
    task = build(PhonemeLoss, options["phonemes"], where, texts=texts, width=width)
    if not 1 <= task.layer <= layers:
        raise ConfigError(f"{where}.layer is {task.layer}; the encoder has layers 1 to {layers}")
    return task


def _whole_number(value: Any, where: str, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{where} is {value!r}; expected a whole number, {least} or more")
    return value


def _manifests(paths: Any, where: str) -> list[Utterance]:
    if not paths:
        raise ConfigError(f"{where} names no manifest; `asr prepare` writes them")
    paths = [paths] if isinstance(paths, str) else list(paths)
    utterances = [utterance for path in paths for utterance in read_manifest(path)]
    if len({utterance.id for utterance in utterances}) < len(utterances):
        raise ConfigError(f"{where}: an id stands in more than one of {', '.join(paths)}")
    return utterances


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


def _tokenizer(
    options: Mapping[str, Any], train_set: Sequence[Utterance], run: RunFolder
) -> Tokenizer:
    check_keys(options, ("kind", "vocabulary_size", "model_type", "folder"), "tokenizer")
    if run.tokenizer.exists():
        return load_tokenizer(options["kind"], run.tokenizer)
    if options.get("folder"):
        return load_tokenizer(options["kind"], Path(options["folder"]))
    texts = (utterance.text for utterance in train_set)
    return train_tokenizer(
        options["kind"], texts, options.get("vocabulary_size"), options.get("model_type")
    )


def _feasible(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, model: CTCModel, skip: bool
) -> list[Utterance]:
    # Fewer encoder frames than tokens and repeats: CTC has no alignment at all.
    kept, short = [], []
    for utterance in utterances:
        try:
            tokens = torch.tensor([tokenizer.encode(utterance.text)])
        except Exception as error:
            raise type(error)(f"utterance '{utterance.id}': {error}") from error
        samples = torch.tensor([int(utterance.duration * model.sample_rate)])
        have = int(model.frame_lengths(samples))
        need = int(required_frames(tokens, torch.tensor([tokens.shape[1]])))
        if have >= need:
            kept.append(utterance)
        else:
            short.append(f"'{utterance.id}' ({have} frames, {need} needed)")
    if short and not skip:
        raise TrainingError(
            f"{len(short)} utterances are too short for their transcripts: {', '.join(short[:5])}; "
            "lower model.encoder.subsampling, or leave them out with data.skip_infeasible=true"
        )
    if short and is_main_process():
        print(f"left out, too short for their transcripts: {len(short)}: {', '.join(short)}")
    if not kept:
        raise TrainingError("no utterance is left to train on")
    return kept


def _trainer(
    parts: _Parts, run: RunFolder, config: Mapping[str, Any]
) -> tuple[lightning.Trainer, Checkpoints]:
    def export(folder: Path, facts: dict[str, Any]) -> None:
        notes = {"name": config["name"], "seed": config["seed"], **facts}
        save_model(folder, parts.module.result, parts.tokenizer, config["model"], notes)

    _whole_number(parts.trainer_options.get("max_epochs"), "trainer.max_epochs", least=1)
    checkpoints = Checkpoints(run, parts.every_steps, export)
    try:
        trainer = build(
            lightning.Trainer,
            parts.trainer_options,
            "trainer",
            callbacks=[Report(run), parts.kept, checkpoints],
            logger=TensorBoardLogger(run.path, name="", version="tensorboard"),
            default_root_dir=run.path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # The sampler deals batches out to ranks itself.
            use_distributed_sampler=False,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer, checkpoints


def _announce(parts: _Parts, run: RunFolder, start: str | None) -> None:
    data = parts.data
    hours = sum(u.duration for u in data.train_set.utterances) / 3600
    print(
        f"{'going on' if start else 'training'} in {run.path}\n"
        f"{parts.module.model.parameter_count() / 1e6:.2f} M parameters, "
        f"{parts.tokenizer.vocabulary_size} tokens ({parts.tokenizer.kind}), "
        f"{len(data.train_set)} utterances ({hours:.2f} h) to train on, "
        f"{len(data.valid_set)} to validate on, {data.batch_count(0)} batches an epoch, "
        f"{100 * data.sampler.padding_share(0):.1f} % padding",
        flush=True,
    )


def _quiet() -> None:
    # Lightning's advice on workers and logging intervals would drown the report.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*log.*interval.*",
        ".*not resumable.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=message)
