"""A report writes scores and alignments as text that readers of Kaldi and sclite know."""

import unicodedata

from asr.scoring.alignment import Alignment, ErrorCounts
from asr.scoring.score import Score, shorten_ids


def format_counts(name: str, counts: ErrorCounts) -> str:
    """Write counts in Kaldi's form: ``%WER 5.12 [ 40 / 781, 5 ins, 10 del, 25 sub ]``.

    Args:
        name: what the rate is called, such as ``WER``.
        counts: what to write.

    Returns:
        One line; the rate in percent.
    """
    return (
        f"%{name} {100 * counts.rate:.2f} [ {counts.errors} / {counts.words}, "
        f"{counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub ]"
    )


def format_summary(score: Score) -> str:
    """Write a score in a few lines, word error rate first, as Kaldi's compute-wer does.

    Args:
        score: what to write.

    Returns:
        Lines without a trailing newline; rates in percent.
    """
    words, utterances = score.words, len(score.utterances)
    lines = [
        format_counts("WER", words),
        format_counts("CER", score.characters),
        f"%SER {100 * score.sentence_error_rate:.2f} [ {score.sentence_errors} / {utterances} ]",
        f"{words.words} words in {utterances} utterances: {words.correct} correct, "
        f"{words.substitutions} substituted, {words.deletions} deleted, "
        f"{words.insertions} inserted",
    ]
    if score.missing:
        lines.append(
            f"{len(score.missing)} without a hypothesis, counted as deletions: "
            f"{shorten_ids(score.missing)}"
        )
    return "\n".join(lines)


def format_alignment(alignment: Alignment) -> str:
    """Draw an alignment in three lines, as sclite does.

    Args:
        alignment: what to draw.

    Returns:
        Lines ``REF:``, ``HYP:`` and ``EVAL:`` without a trailing newline; asterisks stand where a
        side has no word, letters S, D and I below the errors. Columns fit in a font in which East
        Asian wide characters take two cells and combining marks none.
    """
    lines = ["REF:  ", "HYP:  ", "EVAL: "]
    for kind, reference, hypothesis in alignment.operations:
        width = max(count_cells(reference or ""), count_cells(hypothesis or ""), 1)
        cells = (
            "*" * width if reference is None else reference,
            "*" * width if hypothesis is None else hypothesis,
            "" if kind == "C" else kind,
        )
        for row, cell in enumerate(cells):
            lines[row] += cell + " " * (width - count_cells(cell) + 1)
    return "\n".join(line.rstrip() for line in lines)


def count_cells(text: str) -> int:
    """Count the columns that a text takes in a terminal.

    Args:
        text: any; East Asian wide characters take two columns, combining marks none.
    """
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
