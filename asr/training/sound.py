"""The config's augmentation of waveforms becomes objects, checked before the first step."""

from collections.abc import Mapping, Sequence
from typing import Any

from asr.augment import (
    Babble,
    RecordedNoise,
    Room,
    SoundAugmentation,
    SpeedPerturbation,
    UtteranceJoining,
    WhiteNoise,
)
from asr.errors import ConfigError, TokenizerError
from asr.manifest import Utterance
from asr.schema import build, build_of_one, check_keys, section
from asr.shards import is_shard_reference
from asr.tokenizer import Tokenizer


def speed_perturbation(options: Mapping[str, Any]) -> SpeedPerturbation | None:
    """Build what changes the speed, if the config asks for it.

    Args:
        options: the config's ``augment``.

    Raises:
        ConfigError: an impossible value.
    """
    factors = options.get("speed")
    return build_of_one(SpeedPerturbation, factors, "augment.speed") if factors else None


def sound_augmentation(
    options: Mapping[str, Any], train_set: Sequence[Utterance], sample_rate: int
) -> list[SoundAugmentation]:
    """Build what changes waveforms and not their length, in the order it is applied.

    Args:
        options: the config's ``augment``; only ``room`` and ``noise`` are looked at.
        train_set: other voices are taken from it.
        sample_rate: of the waveforms, in Hz.

    Raises:
        ConfigError: an unknown key, an impossible value, or utterances that cannot be read singly.
    """
    found: list[SoundAugmentation] = []
    rate = {"sample_rate": sample_rate}
    if (own := options.get("room")) is not None:
        found.append(build(Room, own, "augment.room", **rate))
    noise = section(options, "noise", "augment.noise")
    check_keys(noise, ("white", "babble", "recordings"), "augment.noise")
    if (own := noise.get("recordings")) is not None:
        recordings = build(RecordedNoise, own, RecordedNoise.where, **rate)
        _refuse_shards(recordings.recordings, RecordedNoise.where)
        found.append(recordings)
    if (own := noise.get("babble")) is not None:
        _refuse_shards(train_set, Babble.where)
        found.append(build(Babble, own, Babble.where, utterances=train_set, **rate))
    if (own := noise.get("white")) is not None:
        found.append(build(WhiteNoise, own, WhiteNoise.where))
    return found


def utterance_joining(
    options: Mapping[str, Any], train_set: Sequence[Utterance], tokenizer: Tokenizer
) -> UtteranceJoining | None:
    """Build what joins utterances, if the config asks for it.

    Args:
        options: the config's ``augment``; only ``join`` is looked at.
        train_set: the utterances.
        tokenizer: will encode joined transcripts.

    Raises:
        ConfigError: an unknown key, an impossible value, or a tokenizer without a space.
    """
    if (own := options.get("join")) is None:
        return None
    text = next((utterance.text for utterance in train_set if utterance.text), "")
    try:
        # Without any text there is nothing to put a space between.
        tokenizer.encode(f"{text} {text}" if text else "")
    except TokenizerError as error:
        raise ConfigError(
            f"augment.join puts a space between transcripts, which the tokenizer cannot write: "
            f"{error}"
        ) from error
    return build(UtteranceJoining, own, "augment.join", utterances=train_set)


def _refuse_shards(utterances: Sequence[Utterance], where: str) -> None:
    # Each would be a request of its own to a store that may be far away.
    inside = next((u for u in utterances if is_shard_reference(u.audio_filepath)), None)
    if inside:
        raise ConfigError(
            f"{where} takes recordings by chance, which lie in shards here, such as '{inside.id}' "
            f"in {inside.audio_filepath}; list files instead, or leave it out"
        )
