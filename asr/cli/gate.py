"""A gate turns a word error rate into an exit code, for other people's continuous integration."""

import argparse
import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.scoring import ErrorCounts


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Declare ``--max-wer``.

    Args:
        parser: a verb's own parser.
    """
    parser.add_argument(
        "--max-wer",
        type=_percentage,
        metavar="PERCENT",
        help="exit with code 1 when the word error rate is above this, such as 5.0",
    )


def is_above(words: "ErrorCounts", max_wer: float | None, verb: str) -> bool:
    """Tell whether a word error rate is above the gate, and say so on stderr.

    Args:
        words: the counts.
        max_wer: highest rate allowed, in percent, or None for any.
        verb: who asks, for the message.
    """
    # Multiplied out: 7 errors in 100 words are not above 7 %, though 100 * 0.07 > 7.
    if max_wer is None or 100 * words.errors <= max_wer * words.words:
        return False
    print(
        f"asr {verb}: a word error rate of {100 * words.rate:.4f} % is above the {max_wer:g} % "
        "that --max-wer allows",
        file=sys.stderr,
    )
    return True


def _percentage(word: str) -> float:
    value = float(word)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a percentage of 0 or more")
    return value
