"""Confusions are the errors that occur most often: which word became which, was lost or added."""

from collections import Counter
from dataclasses import dataclass

from asr.scoring.score import Score


@dataclass(frozen=True)
class Confusions:
    """The most frequent errors of each kind, most frequent first, equals in alphabetical order.

    Attributes:
        substitutions: word said, word recognised instead, how often.
        deletions: word said and not recognised, how often.
        insertions: word recognised and not said, how often.
    """

    substitutions: tuple[tuple[str, str, int], ...]
    deletions: tuple[tuple[str, int], ...]
    insertions: tuple[tuple[str, int], ...]


def frequent_errors(score: Score, most: int = 20) -> Confusions:
    """Count which words were confused, lost and added.

    Args:
        score: the utterances, whose alignments are made anew where there are errors.
        most: how many to list of each kind.

    Returns:
        The errors; fewer than ``most`` where there are no more.
    """
    substitutions: Counter[tuple[str, str]] = Counter()
    deletions: Counter[str] = Counter()
    insertions: Counter[str] = Counter()
    for utterance in score.utterances:
        if not utterance.words.errors:
            continue
        for kind, reference, hypothesis in utterance.align().operations:
            if kind == "C":
                continue
            if reference is None:
                insertions[str(hypothesis)] += 1
            elif hypothesis is None:
                deletions[reference] += 1
            else:
                substitutions[reference, hypothesis] += 1
    pairs = sorted(substitutions.items(), key=lambda item: (-item[1], item[0]))[:most]
    return Confusions(
        substitutions=tuple((said, recognised, number) for (said, recognised), number in pairs),
        deletions=_most_common(deletions, most),
        insertions=_most_common(insertions, most),
    )


def _most_common(number_of: Counter[str], most: int) -> tuple[tuple[str, int], ...]:
    # `Counter.most_common` leaves equals in the order of their appearance.
    return tuple(sorted(number_of.items(), key=lambda item: (-item[1], item[0]))[:most])
