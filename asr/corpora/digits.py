"""Digits: the ten digits, one at a time, read by espeak-ng, to be heard beside FSDD.

The Free Spoken Digit Dataset has six speakers; what is a voice and what is a digit cannot be told
from so few. Here 160 synthetic speakers, with five accents, say the same ten words at different
loudness, with more noise than any of the six has and with less.
"""

import random

from asr.corpora.reading import ACCENTS, Script, SpokenSplit, spoken_corpus

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def compose_digit(draw: random.Random) -> str:
    """Choose a digit.

    Args:
        draw: the source of all choices.

    Returns:
        One word.
    """
    return draw.choice(DIGITS)


# Rolled and dropped Rs are heard among FSDD's speakers too, who come from several countries.
DIGITS_SCRIPT = Script(
    compose_digit,
    str.lower,
    accents=(*ACCENTS, "en-gb-scotland", "en-029"),
    noise_db=(20, 70),
)
SPOKEN_DIGITS = spoken_corpus(
    "single digits read by 160 voices of espeak-ng, to train beside fsdd; made if DIR has none",
    DIGITS_SCRIPT,
    {"train": SpokenSplit(160, 10)},
)
