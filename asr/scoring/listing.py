"""A listing writes what is told of a score besides its totals: tables in plain text."""

import math
from collections.abc import Sequence

from asr.scoring.breakdown import FrequencyClass, Group
from asr.scoring.confusions import Confusions
from asr.scoring.intervals import Interval
from asr.scoring.report import format_counts
from asr.scoring.score import Score

_LONGEST_NAME = 40


def format_interval(interval: Interval) -> str:
    """Write an interval of the word error rate in one line, in percent.

    Args:
        interval: from `bootstrap_interval`.
    """
    name = f"{100 * interval.level:g} % interval of the WER"
    if math.isinf(interval.high):
        return (
            f"{name}: none, since fewer than two {interval.unit} with words give nothing to go by"
        )
    return f"{name}: {100 * interval.low:.2f} to {100 * interval.high:.2f} ({interval.method})"


def format_groups(title: str, groups: Sequence[Group]) -> str:
    """Write groups as a table, one a line.

    Args:
        title: what the utterances were grouped by; heads the first column.
        groups: from `break_down`.

    Returns:
        Lines with rates in percent.
    """
    rows = [[title, "utt", "words", "WER", "CER", "SER", "sub", "del", "ins"]]
    for group in groups:
        words = group.words
        rows.append(
            [
                _shorten(group.name),
                str(group.utterances),
                str(words.words),
                f"{100 * words.rate:.2f}",
                f"{100 * group.characters.rate:.2f}",
                f"{100 * group.sentence_errors / group.utterances:.2f}",
                *(str(n) for n in (words.substitutions, words.deletions, words.insertions)),
            ]
        )
    return _align(rows)


def format_confusions(confusions: Confusions) -> str:
    """Write the most frequent errors, a line for each kind that occurs.

    Args:
        confusions: from `frequent_errors`.
    """
    kinds = {
        "substituted": [(f"{a} -> {b}", count) for a, b, count in confusions.substitutions],
        "deleted": list(confusions.deletions),
        "inserted": list(confusions.insertions),
    }
    return "\n".join(
        f"most {kind}: " + ", ".join(f"{words} ({count})" for words, count in listed)
        for kind, listed in kinds.items()
        if listed
    )


def format_classes(classes: Sequence[FrequencyClass]) -> str:
    """Write how well words are recognised by their frequency in the training text.

    Args:
        classes: from `frequency_classes`.

    Returns:
        A table with precision and recall in percent; classes that no word belongs to are left out.
    """
    rows = [["seen in training", "words", "recognised", "correct", "precision", "recall"]]
    rows += [
        [
            one.name,
            *(str(number) for number in (one.words, one.recognized, one.correct)),
            f"{100 * one.precision:.2f}",
            f"{100 * one.recall:.2f}",
        ]
        for one in classes
        if one.words or one.recognized
    ]
    return _align(rows)


def format_change(before: Score, after: Score) -> str:
    """Write how much a normaliser changed the word error rate, in one line.

    Args:
        before: score of the texts as they were.
        after: score of the normalised texts.
    """
    return (
        f"without normalising: {format_counts('WER', before.words)}; normalising changed it by "
        f"{100 * (after.words.rate - before.words.rate):+.2f}"
    )


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
