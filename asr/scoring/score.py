"""A score joins hypotheses to references by utterance id and sums their errors over a corpus."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import jiwer

from asr.errors import ScoringError, UsageError
from asr.scoring.alignment import (
    Alignment,
    ErrorCounts,
    add_up,
    align,
    count_errors,
    count_errors_by_hash,
    have_own_hashes,
)
from asr.scoring.sclite import align_as_sclite, count_errors_as_sclite

MINIMUM = "minimum"
SCLITE = "sclite"


class _Method(NamedTuple):
    align: Callable[[Sequence[str], Sequence[str]], Alignment]
    count_errors: Callable[[Sequence[str], Sequence[str]], ErrorCounts]


# How words are laid side by side: with the fewest errors, or as NIST's program does.
METHODS: Mapping[str, _Method] = MappingProxyType(
    {
        MINIMUM: _Method(align, count_errors),
        SCLITE: _Method(align_as_sclite, count_errors_as_sclite),
    }
)
_CROSS_CHECK_UTTERANCES = 1000
_NAMED_IDS = 5


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance's counts, with the texts they belong to.

    Attributes:
        id: the utterance.
        reference: what was said.
        hypothesis: what was recognised; empty when missing.
        words: errors counted by words.
        characters: errors counted by characters.
        missing: True when there was no hypothesis at all, scored as an empty one.
        method: how the words were aligned, a key of ``METHODS``.
    """

    id: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    missing: bool = False
    method: str = MINIMUM

    def align(self) -> Alignment:
        """Lay the words of both texts side by side, as they were when their errors were counted."""
        return METHODS[self.method].align(self.reference.split(), self.hypothesis.split())


@dataclass(frozen=True)
class Score:
    """The utterances of a corpus, or of any part of it, and their totals.

    Attributes:
        utterances: one score each, in the order of the references.
    """

    utterances: tuple[UtteranceScore, ...]

    @cached_property
    def words(self) -> ErrorCounts:
        """Word errors summed over the utterances; ``words.rate`` is the word error rate."""
        return add_up(utterance.words for utterance in self.utterances)

    @cached_property
    def characters(self) -> ErrorCounts:
        """Character errors summed; ``characters.rate`` is the character error rate."""
        return add_up(utterance.characters for utterance in self.utterances)

    @cached_property
    def sentence_errors(self) -> int:
        """Utterances with at least one wrong word."""
        return sum(utterance.words.errors > 0 for utterance in self.utterances)

    @property
    def sentence_error_rate(self) -> float:
        """Utterances with at least one wrong word over all utterances; 0 when there are none."""
        return self.sentence_errors / len(self.utterances) if self.utterances else 0.0

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Ids without a hypothesis, whose words all count as deletions."""
        return tuple(utterance.id for utterance in self.utterances if utterance.missing)


def score_pairs(
    references: Mapping[str, str], hypotheses: Mapping[str, str], method: str = MINIMUM
) -> Score:
    """Score hypotheses against the references of the same utterance ids.

    Words are what whitespace separates. Characters are those of the text with every run of
    whitespace folded into one space and none at the ends: the space between two words counts as a
    character, as in ``jiwer.cer``, and a character is a Unicode code point. Nothing else is
    altered; case, punctuation and Unicode forms are compared as they stand.

    Args:
        references: utterance id to what was said; may be empty text, whose insertions count.
        hypotheses: utterance id to what was recognised, in any order. An id without a hypothesis
            is scored as empty text and stands in the result's ``missing``.
        method: how words are aligned: "minimum" for the fewest errors, "sclite" for NIST's costs.
            Characters are always aligned with the fewest errors.

    Returns:
        The score, in the order of the references.

    Raises:
        ScoringError: no reference at all, or hypotheses whose ids no reference has.
        UsageError: there is no such method.
    """
    if method not in METHODS:
        raise UsageError(f"no alignment '{method}'; there are {', '.join(METHODS)}")
    if not references:
        raise ScoringError("there is no reference to score against; expected at least one")
    unknown = [identity for identity in hypotheses if identity not in references]
    if unknown:
        raise ScoringError(
            f"{len(unknown)} of {len(hypotheses)} hypotheses have an id that no reference has: "
            f"{shorten_ids(unknown)}; are these the references of the same recordings?"
        )
    with _collector_at_rest():
        if method == MINIMUM:
            vocabulary: set[str] = set()
            fast = _score_all(references, hypotheses, method, count_errors_by_hash, vocabulary)
            if have_own_hashes(vocabulary):
                return fast
        return _score_all(references, hypotheses, method, METHODS[method].count_errors, set())


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    # A million new objects make Python's collector walk through all of them over and over, a third
    # of the whole time; there are no circles among them to find.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _score_all(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    method: str,
    count_words: Callable[[Sequence[str], Sequence[str]], ErrorCounts],
    vocabulary: set[str],
) -> Score:
    # Adds the words that it compares to the vocabulary.
    utterances = []
    for identity, reference in references.items():
        hypothesis = hypotheses.get(identity)
        said = recognised = reference.split()
        if hypothesis != reference:
            recognised = (hypothesis or "").split()
            vocabulary.update(said, recognised)
        utterances.append(
            UtteranceScore(
                id=identity,
                reference=reference,
                hypothesis=hypothesis or "",
                words=count_words(said, recognised),
                characters=count_errors_by_hash(" ".join(said), " ".join(recognised)),
                missing=hypothesis is None,
                method=method,
            )
        )
    return Score(tuple(utterances))


def score(
    references: str | Sequence[str] | Mapping[str, str],
    hypotheses: str | Sequence[str] | Mapping[str, str],
) -> ErrorCounts:
    """Count the word errors of texts; the counts of several calls add up with ``+``.

    Args:
        references: what was said: one text, texts in order, or texts by utterance id.
        hypotheses: what was recognised, in the same form. By id, a hypothesis may be missing and
            its words are then deletions; in order, there are as many as references.

    Returns:
        The summed counts; ``rate`` is the word error rate.

    Raises:
        ScoringError: the two cannot be joined.
    """
    said, recognised = _by_id(references), _by_id(hypotheses)
    ordered = not isinstance(references, Mapping)
    if ordered == isinstance(hypotheses, Mapping):
        raise ScoringError(
            "one side has utterance ids and the other has none; give both as mappings by id, or "
            "both as texts in the same order"
        )
    if ordered and len(said) != len(recognised):
        raise ScoringError(
            f"there are {len(said)} references and {len(recognised)} hypotheses; expected as many "
            "of both, or mappings by utterance id"
        )
    # No utterance at all is no mistake of a caller who adds up batches.
    return score_pairs(said, recognised).words if said or recognised else ErrorCounts()


def _by_id(texts: str | Sequence[str] | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(texts, Mapping):
        return texts
    ordered = [texts] if isinstance(texts, str) else texts
    return {str(position): text for position, text in enumerate(ordered)}


def shorten_ids(ids: Sequence[str]) -> str:
    """Name the first few ids and say how many more there are."""
    more = len(ids) - _NAMED_IDS
    return ", ".join(ids[:_NAMED_IDS]) + (f" and {more} more" if more > 0 else "")


def cross_check(score: Score) -> None:
    """Count a score's totals a second time with jiwer, from the texts.

    Folding whitespace, splitting into words and summing are then done by two programs; the edit
    distance underneath is RapidFuzz's in both. Words aligned as sclite does may have more errors
    than jiwer counts, the fewest there can be.

    Args:
        score: what to count again.

    Raises:
        ScoringError: errors or reference lengths differ; the figures are not to be trusted.
    """
    fold = [jiwer.SubstituteRegexes({r"\s+": " "}), jiwer.Strip()]
    by_words = jiwer.Compose([*fold, jiwer.ReduceToListOfListOfWords()])
    by_characters = jiwer.Compose([*fold, jiwer.ReduceToListOfListOfChars()])
    words = characters = ErrorCounts()
    # jiwer keeps every alignment of a call; parts bound its memory.
    for start in range(0, len(score.utterances), _CROSS_CHECK_UTTERANCES):
        part = score.utterances[start : start + _CROSS_CHECK_UTTERANCES]
        references = [utterance.reference for utterance in part]
        hypotheses = [utterance.hypothesis for utterance in part]
        counted = jiwer.process_words(references, hypotheses, by_words, by_words)
        words += _from_jiwer(counted)
        spelled = jiwer.process_characters(references, hypotheses, by_characters, by_characters)
        characters += _from_jiwer(spelled)
    for unit, ours, theirs in (
        ("word", score.words, words),
        ("character", score.characters, characters),
    ):
        fewest = ours.errors == theirs.errors or (
            ours.errors > theirs.errors and unit == "word" and not _is_minimum(score)
        )
        if not fewest or ours.words != theirs.words:
            raise ScoringError(
                f"{unit} errors were counted as {ours.errors} / {ours.words}, but jiwer counts "
                f"{theirs.errors} / {theirs.words}; expected both to agree, please report this"
            )


def _is_minimum(score: Score) -> bool:
    return all(utterance.method == MINIMUM for utterance in score.utterances)


def _from_jiwer(output: jiwer.WordOutput | jiwer.CharacterOutput) -> ErrorCounts:
    return ErrorCounts(output.substitutions, output.deletions, output.insertions, output.hits)
