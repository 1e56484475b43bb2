"""A score joins hypotheses to references by utterance id and sums their errors over a corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jiwer

from asr.errors import ScoringError
from asr.scoring.alignment import Alignment, ErrorCounts, align, count_errors

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
    """

    id: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    missing: bool = False

    def align(self) -> Alignment:
        """Lay the words of both texts side by side."""
        return align(self.reference.split(), self.hypothesis.split())


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
        return sum((utterance.words for utterance in self.utterances), ErrorCounts())

    @cached_property
    def characters(self) -> ErrorCounts:
        """Character errors summed; ``characters.rate`` is the character error rate."""
        return sum((utterance.characters for utterance in self.utterances), ErrorCounts())

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


def score_pairs(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> Score:
    """Score hypotheses against the references of the same utterance ids.

    Words are what whitespace separates. Characters are those of the text with every run of
    whitespace folded into one space and none at the ends: the space between two words counts as a
    character, as in ``jiwer.cer``, and a character is a Unicode code point. Nothing else is
    altered; case, punctuation and Unicode forms are compared as they stand.

    Args:
        references: utterance id to what was said; may be empty text, whose insertions count.
        hypotheses: utterance id to what was recognised, in any order. An id without a hypothesis
            is scored as empty text and stands in the result's ``missing``.

    Returns:
        The score, in the order of the references.

    Raises:
        ScoringError: no reference at all, or hypotheses whose ids no reference has.
    """
    if not references:
        raise ScoringError("there is no reference to score against; expected at least one")
    unknown = [identity for identity in hypotheses if identity not in references]
    if unknown:
        raise ScoringError(
            f"{len(unknown)} of {len(hypotheses)} hypotheses have an id that no reference has: "
            f"{shorten_ids(unknown)}; are these the references of the same recordings?"
        )
    return Score(
        tuple(
            _score_utterance(identity, reference, hypotheses.get(identity))
            for identity, reference in references.items()
        )
    )


def _score_utterance(identity: str, reference: str, hypothesis: str | None) -> UtteranceScore:
    said, recognised = reference.split(), (hypothesis or "").split()
    return UtteranceScore(
        id=identity,
        reference=reference,
        hypothesis=hypothesis or "",
        words=count_errors(said, recognised),
        characters=count_errors(" ".join(said), " ".join(recognised)),
        missing=hypothesis is None,
    )


def shorten_ids(ids: Sequence[str]) -> str:
    """Name the first few ids and say how many more there are."""
    more = len(ids) - _NAMED_IDS
    return ", ".join(ids[:_NAMED_IDS]) + (f" and {more} more" if more > 0 else "")


def cross_check(score: Score) -> None:
    """Count a score's totals a second time with jiwer, from the texts.

    Folding whitespace, splitting into words and summing are then done by two programs; the edit
    distance underneath is RapidFuzz's in both.

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
        if (ours.errors, ours.words) != (theirs.errors, theirs.words):
            raise ScoringError(
                f"{unit} errors were counted as {ours.errors} / {ours.words}, but jiwer counts "
                f"{theirs.errors} / {theirs.words}; expected both to agree, please report this"
            )


def _from_jiwer(output: jiwer.WordOutput | jiwer.CharacterOutput) -> ErrorCounts:
    return ErrorCounts(output.substitutions, output.deletions, output.insertions, output.hits)
