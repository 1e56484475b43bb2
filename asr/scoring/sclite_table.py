"""A table of sclite: errors in percent of the words, speaker by speaker, in a frame of ASCII."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from asr.scoring.alignment import ErrorCounts

_PAGE_COLUMNS = 80
_FOOTNOTE = """
* No Reference words for this/these speaker(s).  Word counts supplied
  rather than percents.
# No Reference words for this/these speaker(s).  NCE not computable.
+ Speaker(s) with no reference data is ignored
"""
_HEAD = (" SPKR", " # Snt", "# Wrd", "Corr", " Sub", " Del", " Ins", " Err", "S.Err")


@dataclass(frozen=True)
class SpeakerRow:
    """One speaker's counts.

    Attributes:
        name: the speaker.
        sentences: utterances.
        wrong_sentences: utterances with at least one error.
        words: what became of the words.
    """

    name: str
    sentences: int
    wrong_sentences: int
    words: ErrorCounts

    @property
    def kinds(self) -> tuple[int, ...]:
        """What is reported of the words: correct, substituted, deleted, inserted, all errors."""
        words = self.words
        return (
            words.correct,
            words.substitutions,
            words.deletions,
            words.insertions,
            words.errors,
        )


def percent(number: int, of: int) -> float:
    """Give a share in percent.

    Args:
        number: part.
        of: whole; may be 0.

    Returns:
        Percent; 0 of nothing.
    """
    return number / of * 100 if of else 0.0


def round_half_up(value: float, digits: int) -> float:
    """Round as sclite does, halves away from zero; Python rounds them to even digits."""
    scale = 10.0**digits
    return math.trunc(value * scale + (0.5 if value > 0 else -0.5)) / scale


def format_table(title: str, rows: Sequence[SpeakerRow]) -> str:
    """Draw the table of sclite's sys file.

    Args:
        title: name of the system.
        rows: one a speaker.

    Returns:
        The file's text.
    """
    with_words = [row for row in rows if row.words.words]
    total = SpeakerRow(
        " Sum/Avg",
        sum(row.sentences for row in rows),
        sum(row.wrong_sentences for row in rows),
        sum((row.words for row in rows), ErrorCounts()),
    )
    body = [_cells(f" {row.name} ", row) for row in rows]
    mark = "+" if len(with_words) < len(rows) else " "
    closing = [
        _statistics(name, rows, with_words, mark, measure)
        for name, measure in (
            (" Mean ", statistics.mean),
            (" S.D. ", lambda values: statistics.stdev(values) if len(values) > 1 else 0.0),
            ("Median", statistics.median),
        )
    ]
    lines = _frame(title, body, _cells(" Sum/Avg", total), closing)
    page_title = "SYSTEM SUMMARY PERCENTAGES by SPEAKER".center(_PAGE_COLUMNS)
    return f"\n\n\n{page_title}\n\n" + "".join(lines) + ("" if mark == " " else _FOOTNOTE)


def _cells(name: str, row: SpeakerRow) -> list[str]:
    words = row.words.words
    return [
        name,
        f"{row.sentences:5d}",
        f"{words:5d}",
        *(
            f"{round_half_up(percent(number, words), 1):5.1f} " if words else f"{number:5d}*"
            for number in row.kinds
        ),
        f"{round_half_up(percent(row.wrong_sentences, row.sentences), 1):5.1f} ",
    ]


def _statistics(
    name: str,
    rows: Sequence[SpeakerRow],
    with_words: Sequence[SpeakerRow],
    mark: str,
    measure: Callable[[Sequence[float]], float],
) -> list[str]:
    shares = [
        measure([percent(row.kinds[place], row.words.words) for row in with_words] or [0.0])
        for place in range(5)
    ]
    sentences = [percent(row.wrong_sentences, row.sentences) for row in rows]
    return [
        name,
        f"{round_half_up(measure([float(row.sentences) for row in rows]), 1):5.1f} ",
        f"{round_half_up(measure([float(row.words.words) for row in rows]), 1):5.1f} ",
        *(f"{round_half_up(share, 1):5.1f}{mark}" for share in shares),
        f"{round_half_up(measure(sentences), 1):5.1f} ",
    ]


def _frame(
    title: str, body: Sequence[list[str]], total: list[str], closing: Sequence[list[str]]
) -> Iterator[str]:
    natural = [max(map(len, column)) for column in zip(_HEAD, *body, total, *closing, strict=True)]
    # Nine columns stand between ten bars or blanks, a long title alone between two bars.
    inner = max(sum(natural) + 8, len(title))
    widths = _widen(natural, inner - sum(natural) - 8)
    indent = " " * max(0, (_PAGE_COLUMNS - inner - 2) // 2)

    def bar(sign: str, joint: str) -> str:
        groups = (widths[:1], widths[1:3], widths[3:])
        return joint.join(sign * (sum(group) + len(group) - 1) for group in groups)

    def row(cells: Sequence[str], first: Callable[[str, int], str]) -> str:
        placed = [
            _place((first if number == 0 else _center)(cell, narrow), wide)
            for number, (cell, narrow, wide) in enumerate(zip(cells, natural, widths, strict=True))
        ]
        return f"{indent}|{placed[0]}|{' '.join(placed[1:3])}|{' '.join(placed[3:])}|\n"

    yield f"{indent},{'-' * inner}.\n"
    yield f"{indent}|{_place(_center(title, len(title)), inner)}|\n"
    yield f"{indent}|{bar('-', '-')}|\n"
    yield row(_HEAD, str.ljust)
    for cells in body:
        yield f"{indent}|{bar('-', '+')}|\n" + row(cells, str.ljust)
    yield f"{indent}|{bar('=', '=')}|\n" + row(total, str.ljust)
    yield f"{indent}|{bar('=', '=')}|\n"
    for cells in closing:
        yield row(cells, _center)
    yield f"{indent}`{'-' * inner}'\n"


def _widen(natural: Sequence[int], missing: int) -> list[int]:
    """Share columns that only a long title needs among all, as evenly as whole numbers allow."""
    number = len(natural)
    ends = [(2 * missing * place + number) // (2 * number) for place in range(1, number + 1)]
    begins = [0, *ends[:-1]]
    return [width + end - begin for width, begin, end in zip(natural, begins, ends, strict=True)]


def _center(cell: str, width: int) -> str:
    left = (width - len(cell)) // 2
    return (" " * left + cell).ljust(width)


def _place(cell: str, width: int) -> str:
    return (
        " " * ((width - len(cell)) // 2)
        + cell
        + " " * (width - len(cell) - (width - len(cell)) // 2)
    )
