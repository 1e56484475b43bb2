"""What a recipe will take, told before anything is downloaded, by what the corpus' makers state."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.chain.language_model import LanguageModel
from asr.chain.options import ChainOptions
from asr.corpora import CORPORA, Part, Release
from asr.download import missing_parts
from asr.errors import ConfigError
from asr.manifest import Utterance
from asr.tokenizer import CharacterTokenizer
from asr.training import Expected

# What LibriSpeech's transcripts are written with.
_LETTERS = string.ascii_uppercase + "' "
# Signs that stand for subwords, as many as there will be.
_FIRST_SIGN = 0x4E00


@dataclass(frozen=True)
class Outlook:
    """What is known of a chain's data before it is there.

    Attributes:
        expected: stands for the data in an estimate; None where all manifests are there.
        lines: what is missing, what the figures rest on, and what is not checked.
    """

    expected: Expected | None
    lines: tuple[str, ...]


def look_ahead(chain: ChainOptions, config: Mapping[str, Any]) -> Outlook:
    """Find out what a chain would download, and stand in for manifests that it would make.

    Args:
        chain: the recipe's chain.
        config: the rest of its configuration.

    Raises:
        ConfigError: a language model that the release lacks, or a loss that needs transcripts.
        UsageError: a part that the release lacks.
    """
    corpus = CORPORA[chain.corpus]
    if corpus.release is None:
        return Outlook(None, ())
    root = Path(chain.root)
    parts = corpus.release.choose(list(chain.parts)) if chain.parts else []
    if chain.lm and (language := LanguageModel(chain.lm, corpus, root).part):
        parts.append(language)
    lines = [
        f"missing: {one.part.name} ({one.part.gigabytes:g} GB): {one.url} -> {one.place}"
        + (f", unpacked to {one.unpacked}" if one.unpacked else "")
        for one in missing_parts(corpus, parts, root, chain.mirrors)
    ]
    utterances: dict[str, Sequence[Utterance]] = {}
    for path in (*_listed(config["data"]["train"]), *_listed(config["data"]["valid"])):
        named = [part for part in parts if part.split and part.split == Path(path).stem]
        if named and Path(path).parent == Path(chain.manifests) and not Path(path).exists():
            utterances[path] = _stand_ins(named[0], corpus.release)
            lines.append(_basis(path, named[0], utterances[path]))
    if not utterances:
        return Outlook(None, tuple(lines))
    for loss in ("phonemes", "guide", "distillation"):
        if config["auxiliary"].get(loss) is not None:
            raise ConfigError(
                f"auxiliary.{loss} is built from transcripts, which are not there yet; estimate "
                "with auxiliary=none, or prepare the data first (chain.last=prepare)"
            )
    lines.append(
        "not checked before the data is there: audio, transcripts, vocabulary, the longest "
        "utterance, and padding, since stand-ins are all of their set's mean length"
    )
    return Outlook(Expected(utterances, _vocabulary(config["tokenizer"])), tuple(lines))


def _listed(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths or ())


def _vocabulary(options: Mapping[str, Any]) -> CharacterTokenizer:
    size = options.get("vocabulary_size")
    if options["kind"] == CharacterTokenizer.kind or not isinstance(size, int):
        return CharacterTokenizer(_LETTERS)
    return CharacterTokenizer([chr(_FIRST_SIGN + place) for place in range(max(1, size - 1))])


def _stand_ins(part: Part, release: Release) -> list[Utterance]:
    like = _like(part, release)
    hours = part.hours or part.gigabytes * like.hours / like.gigabytes
    seconds = 3600 * like.hours / like.utterances
    count = part.utterances or round(3600 * hours / seconds)
    return [
        Utterance(f"{part.name}-{number}", "", 3600 * hours / count, "") for number in range(count)
    ]


def _like(part: Part, release: Release) -> Part:
    """Give the part itself, or one of the same kind whose hours and utterances are stated."""
    stated = [one for one in release.parts if one.hours and one.utterances]
    kind = part.name.rpartition("-")[0]
    alike = [one for one in stated if kind.startswith(one.name) or one.name.startswith(kind)]
    return next((one for one in stated if one == part), (alike or stated)[0])


def _basis(path: str, part: Part, utterances: Sequence[Utterance]) -> str:
    hours = sum(utterance.duration for utterance in utterances) / 3600
    figures = f"{hours:.1f} h in {len(utterances):,} utterances"
    if part.hours and part.utterances:
        return f"{path} is not there: taken as {figures}, the published figures of {part.name}"
    return f"{path} is not there: taken as {figures}, by the size of {part.name}'s archive"
