"""An alignment lays recognised words against those that were said and counts what is wrong."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count, repeat
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Kind = Literal["C", "S", "D", "I"]

_KIND_OF_TAG: dict[str, Kind] = {"replace": "S", "delete": "D", "insert": "I"}


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """How often a reference's words (or characters) were right and wrong.

    ``ErrorCounts()`` is the zero: ``sum(counts, ErrorCounts())`` adds up a corpus, whose rate is
    that of summed errors over summed words.

    Attributes:
        substitutions: reference words that another word stands for.
        deletions: reference words that nothing stands for.
        insertions: hypothesis words that stand for nothing.
        correct: reference words that were recognised.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    correct: int = 0

    @property
    def words(self) -> int:
        """Length of the reference: every word of it is correct, substituted or deleted."""
        return self.substitutions + self.deletions + self.correct

    @property
    def errors(self) -> int:
        """Edit distance: substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors over reference words, not clamped.

        Above 1 when more was inserted than said; infinite when the reference is empty and
        something was inserted; 0 when both sides are empty.
        """
        if self.words:
            return self.errors / self.words
        return math.inf if self.errors else 0.0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        if not isinstance(other, ErrorCounts):
            return NotImplemented
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.correct + other.correct,
        )


def add_up(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum counts, ten times as fast as ``sum`` does over hundreds of thousands.

    Args:
        counts: those of utterances, or of parts of a corpus.
    """
    substitutions = deletions = insertions = correct = 0
    for one in counts:
        substitutions += one.substitutions
        deletions += one.deletions
        insertions += one.insertions
        correct += one.correct
    return ErrorCounts(substitutions, deletions, insertions, correct)


class Operation(NamedTuple):
    """One step of an alignment: what became of a reference word, or where one was inserted."""

    kind: Kind
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class Alignment:
    """A hypothesis laid against its reference, word by word.

    Attributes:
        reference: the reference's words.
        hypothesis: the hypothesis' words.
        operations: steps from left to right; ``reference`` is None in an insertion and
            ``hypothesis`` is None in a deletion.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    operations: tuple[Operation, ...]

    @property
    def counts(self) -> ErrorCounts:
        """The operations, counted by kind."""
        number = Counter(operation.kind for operation in self.operations)
        return ErrorCounts(number["S"], number["D"], number["I"], number["C"])


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align two sequences of words with the fewest errors possible.

    Substitution, deletion and insertion cost 1 each (Levenshtein 1966). Where several alignments
    have the fewest errors, the one that jiwer takes is taken, since both ask RapidFuzz.

    Args:
        reference: words that were said, or any other strings compared by equality; a plain
            string is a sequence of characters.
        hypothesis: words that were recognised.

    Returns:
        The alignment, whose ``counts`` equal ``count_errors`` of the same sequences.
    """
    operations: list[Operation] = []
    at, beside = 0, 0  # the first words of both sides that no operation covers yet
    for edit in Levenshtein.editops(*comparable(reference, hypothesis)):
        said, recognised = reference[at : edit.src_pos], hypothesis[beside : edit.dest_pos]
        operations += _correct(said, recognised)
        kind = _KIND_OF_TAG[edit.tag]
        operations.append(
            Operation(
                kind,
                None if kind == "I" else reference[edit.src_pos],
                None if kind == "D" else hypothesis[edit.dest_pos],
            )
        )
        at = edit.src_pos + (kind != "I")
        beside = edit.dest_pos + (kind != "D")
    operations += _correct(reference[at:], hypothesis[beside:])
    return Alignment(tuple(reference), tuple(hypothesis), tuple(operations))


def _correct(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[Operation]:
    # Nine words in ten come here; calling Operation itself takes five times as long.
    steps = zip(repeat("C"), reference, hypothesis, strict=False)
    return map(tuple.__new__, repeat(Operation), steps)


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Count the errors of the alignment with the fewest, without building it.

    Args:
        reference: words that were said; a plain string is a sequence of characters.
        hypothesis: words that were recognised.

    Returns:
        The counts of ``align(reference, hypothesis)``.
    """
    return count_errors_by_hash(*comparable(reference, hypothesis))


def count_errors_by_hash(
    reference: Sequence[Hashable], hypothesis: Sequence[Hashable]
) -> ErrorCounts:
    """Count errors as `count_errors` does, twice as fast, taking equal hashes for equal words.

    Args:
        reference: words that were said, among which and ``hypothesis`` `have_own_hashes` holds.
        hypothesis: words that were recognised.
    """
    if reference == hypothesis:
        return ErrorCounts(correct=len(reference))
    edits = Levenshtein.editops(reference, hypothesis)
    longer = len(hypothesis) - len(reference)
    # At most so many: each pair of a deletion and an insertion costs as much as two of them.
    substitutions = len(edits) - abs(longer)
    if substitutions > 1:
        substitutions = [tag for tag, _, _ in edits.as_list()].count("replace")
    deletions = (len(edits) - substitutions - longer) // 2
    correct = len(reference) - substitutions - deletions
    return ErrorCounts(substitutions, deletions, deletions + longer, correct)


def have_own_hashes(words: AbstractSet[str]) -> bool:
    """Tell whether RapidFuzz, which compares hashes, can tell all of some words apart.

    Args:
        words: different words.
    """
    # For the hash of a single character RapidFuzz takes its code point.
    hashes = {ord(word) if len(word) == 1 else hash(word) for word in words}
    return len(hashes) == len(words)


def comparable(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> tuple[Sequence[Hashable], Sequence[Hashable]]:
    """Give equal words equal numbers, which have hashes of their own.

    Args:
        reference: words, or a plain string of characters.
        hypothesis: the other words.

    Returns:
        The numbers of both; characters of two plain strings as they are.
    """
    if isinstance(reference, str) and isinstance(hypothesis, str):
        return reference, hypothesis
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    return list(map(numbers.__getitem__, reference)), list(map(numbers.__getitem__, hypothesis))
