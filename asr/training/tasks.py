"""The config's `auxiliary` becomes what is learned beside the tokens of the last layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr.errors import ConfigError
from asr.manifest import Utterance
from asr.model import CTCModel
from asr.schema import build, check_keys
from asr.tokenizer import Tokenizer
from asr.training.auxiliary import IntermediateLoss, PhonemeLoss
from asr.training.consistency import Consistency
from asr.training.distillation import Distillation
from asr.training.guide import TimingGuide


@dataclass(frozen=True)
class Tasks:
    """What is learned beside the tokens of the last layer; None: not this.

    Attributes:
        phonemes: a second task for an inner layer.
        intermediate: the tokens' loss on inner layers too.
        consistency: makes two augmented views of each utterance agree.
        guide: tells when each token is said.
        distillation: what models trained before tell of each frame.
    """

    phonemes: PhonemeLoss | None = None
    intermediate: IntermediateLoss | None = None
    consistency: Consistency | None = None
    guide: TimingGuide | None = None
    distillation: Distillation | None = None


NO_TASKS = Tasks()


def auxiliary_losses(
    options: Mapping[str, Any],
    train_set: Sequence[Utterance],
    model: CTCModel,
    tokenizer: Tokenizer,
) -> Tasks:
    """Build what is learned beside the tokens, as the config asks.

    Args:
        options: the config's ``auxiliary``.
        train_set: tells the words.
        model: tells the size and number of its layers.
        tokenizer: tells which tokens make a sound.

    Raises:
        ConfigError: an unknown key or an impossible value.
        ModelFolderError: a teacher cannot be read.
    """
    check_keys(options, vars(NO_TASKS), "auxiliary")
    width, depth = model.encoder.width, len(model.encoder.layers)
    found: dict[str, Any] = {}
    if (own := options.get("phonemes")) is not None:
        texts = [utterance.text for utterance in train_set]
        where = "auxiliary.phonemes"
        found["phonemes"] = task = build(PhonemeLoss, own, where, texts=texts, width=width)
        if not 1 <= task.layer <= depth:
            raise ConfigError(f"{where}.layer is {task.layer}; the encoder has layers 1 to {depth}")
    if (own := options.get("intermediate")) is not None:
        where = "auxiliary.intermediate"
        found["intermediate"] = build(IntermediateLoss, own, where, depth=depth)
    if (own := options.get("consistency")) is not None:
        found["consistency"] = build(Consistency, own, "auxiliary.consistency")
    if (own := options.get("guide")) is not None:
        found["guide"] = build(
            TimingGuide,
            own,
            "auxiliary.guide",
            features=model.features,
            pieces=tokenizer.pieces,
            subsampling=model.encoder.subsampling_factor,
        )
    if (own := options.get("distillation")) is not None:
        where = "auxiliary.distillation"
        found["distillation"] = build(Distillation, own, where, model=model, tokenizer=tokenizer)
    return Tasks(**found)
