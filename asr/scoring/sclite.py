"""sclite's alignment: NIST's costs and tie-breaking, for figures that must match its own.

Fiscus, J.: sclite, part of the NIST Scoring Toolkit SCTK. Substitution costs 4, deletion and
insertion 3 each, so two words side by side are never taken for a deletion and an insertion unless
that sets other words right. Case counts, as with sclite's option ``-s``.
"""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from asr.scoring.alignment import Alignment, ErrorCounts, Operation, comparable

GAP, SUBSTITUTION = 3, 4
# Three substitutions cost as much as two deletions and two insertions: from this cost on (beyond
# that of unequal lengths), the cost alone does not tell which errors there were.
_AMBIGUOUS = 3 * SUBSTITUTION

_PAIR, _DELETE, _INSERT = 0, 1, 2
_UNREACHED = 1 << 60


def align_as_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align two sequences of words as sclite does.

    Args:
        reference: words that were said, or any other strings compared by equality.
        hypothesis: words that were recognised.

    Returns:
        The alignment that sclite prints, word by word.
    """
    # A pair of equal last words is never dearer than its rivals, and sclite prefers pairs.
    common = _common_suffix(reference, hypothesis)
    at, beside = len(reference) - common, len(hypothesis) - common
    steps = _trace(reference[:at], hypothesis[:beside])
    operations: list[Operation] = []
    row = column = 0
    for step in [*steps, *[_PAIR] * common]:
        word = None if step == _INSERT else reference[row]
        other = None if step == _DELETE else hypothesis[column]
        if step == _PAIR:
            operations.append(Operation("C" if word == other else "S", word, other))
        else:
            operations.append(Operation("D" if step == _DELETE else "I", word, other))
        row += step != _INSERT
        column += step != _DELETE
    return Alignment(tuple(reference), tuple(hypothesis), tuple(operations))


def count_errors_as_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Count the errors that sclite counts.

    Args:
        reference: words that were said.
        hypothesis: words that were recognised.

    Returns:
        The counts of ``align_as_sclite(reference, hypothesis)``.
    """
    if reference == hypothesis:
        return ErrorCounts(correct=len(reference))
    longer = len(hypothesis) - len(reference)
    cost = _cost(reference, hypothesis)
    extra = cost - GAP * abs(longer)
    if extra < _AMBIGUOUS:
        # extra = 4 substitutions + 6 pairs of a deletion and an insertion.
        substitutions = extra % GAP
        pairs = (extra - SUBSTITUTION * substitutions) // (2 * GAP)
        insertions, deletions = pairs + max(longer, 0), pairs + max(-longer, 0)
    else:
        insertions, deletions = _count_gaps(reference, hypothesis)
        substitutions = (cost - GAP * (insertions + deletions)) // SUBSTITUTION
    return ErrorCounts(
        substitutions, deletions, insertions, len(reference) - substitutions - deletions
    )


def _cost(said: Sequence[str], heard: Sequence[str]) -> int:
    return int(Levenshtein.distance(*comparable(said, heard), weights=(GAP, GAP, SUBSTITUTION)))


def _count_gaps(said: Sequence[str], heard: Sequence[str]) -> tuple[int, int]:
    # What both begin with may move within an alignment when cut off, but costs no gap.
    end = _common_suffix(said, heard)
    said, heard = said[: len(said) - end], heard[: len(heard) - end]
    start = 0
    for word, other in zip(said, heard, strict=False):
        if word != other:
            break
        start += 1
    steps = _trace(said[start:], heard[start:])
    return steps.count(_INSERT), steps.count(_DELETE)


def _common_suffix(said: Sequence[str], heard: Sequence[str]) -> int:
    length = 0
    for word, other in zip(reversed(said), reversed(heard), strict=False):
        if word != other:
            break
        length += 1
    return length


def _trace(said: Sequence[str], heard: Sequence[str]) -> list[int]:
    """Give the steps of sclite's path, from the first words to the last."""
    # No path of least cost has more gaps than that cost pays for, so none leaves this band; cells
    # outside it can only look dearer than they are, never cheaper.
    cost = _cost(said, heard)
    right = (cost // GAP + len(heard) - len(said)) // 2
    left = right - (len(heard) - len(said))
    choices: list[bytearray] = []
    previous = [GAP * column for column in range(len(heard) + 1)]
    unreached = [_UNREACHED] * (len(heard) + 1)
    for row, word in enumerate(said, start=1):
        first = max(1, row - left)
        last = min(len(heard), row + right)
        current = unreached.copy()
        if row <= left:
            current[0] = GAP * row
        choices.append(_fill_row(word, heard, previous, current, first, last))
        previous = current
    steps = []
    row, column = len(said), len(heard)
    while row or column:
        if not row:
            step = _INSERT
        elif not column:
            step = _DELETE
        else:
            step = choices[row - 1][column - max(1, row - left)]
        steps.append(step)
        row -= step != _INSERT
        column -= step != _DELETE
    return steps[::-1]


def _fill_row(
    word: str, heard: Sequence[str], previous: list[int], current: list[int], first: int, last: int
) -> bytearray:
    # Fills columns first..last of the current row and gives the step that led to each.
    chosen = bytearray(max(0, last - first + 1))
    beside, diagonal = current[first - 1], previous[first - 1]
    for column in range(first, last + 1):
        above = previous[column]
        paired = diagonal if heard[column - 1] == word else diagonal + SUBSTITUTION
        deleted, inserted = above + GAP, beside + GAP
        if paired <= deleted and paired <= inserted:
            beside = paired
        elif deleted < inserted:
            beside = deleted
            chosen[column - first] = _DELETE
        else:
            beside = inserted
            chosen[column - first] = _INSERT
        current[column] = beside
        diagonal = above
    return chosen
