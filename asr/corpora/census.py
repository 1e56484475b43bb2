"""Census: dates, numbers and spelled letters read by espeak-ng, to be heard beside AN4.

AN4's training set says most months and ordinal numbers once to four times and some never. Here 60
synthetic speakers say all of them, and letters and digits in between, with American accents, at
different loudness and with some noise. Commands and kinds of entries are AN4's (names spelled,
addresses, telephone numbers, dates of birth); months, ordinals and numbers are all there are.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

from asr.corpora.reading import Script, SpokenSplit, spoken_corpus
from asr.numerals import spell_cardinal, spell_ordinal

MONTHS = (
    *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER"),
    *("OCTOBER", "NOVEMBER", "DECEMBER"),
)
DIGITS = ("ZERO", "OH", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
COMMANDS = ("YES", "NO", "GO", "STOP", "START", "HELP", "REPEAT")
MODES = ("ENTER", "RUBOUT", "ERASE")

# Of a hundred entries, how many are of each kind; the first two have the words AN4 is short of.
KINDS: Mapping[str, int] = MappingProxyType(
    {"date": 32, "numbers": 18, "letters": 20, "entry": 15, "digits": 10, "command": 5}
)

# Within a sentence espeak-ng takes single letters for words ("a"), and RUBOUT for French.
_NAMES = (
    *("eigh", "bee", "see", "dee", "ee", "ef", "jee", "aitch", "eye", "jay", "kay", "el", "em"),
    *("en", "oh", "pee", "cue", "are", "ess", "tee", "you", "vee", "double you", "ex", "why"),
    "zee",
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SAID: Mapping[str, str] = MappingProxyType(
    {**dict(zip(LETTERS, _NAMES, strict=True)), "RUBOUT": "rub out"}
)


def compose_entry(draw: random.Random) -> str:
    """Make up what somebody might say to a census.

    Args:
        draw: the source of all choices.

    Returns:
        A date, numbers, letters, letters and numbers behind a command, digits, or a command.
    """
    kind = draw.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    if kind == "date":
        return f"{draw.choice(MONTHS)} {_day(draw)} NINETEEN {_number(draw)}"
    if kind == "numbers":
        return " ".join(_number(draw, least=1) for _ in range(draw.randrange(2, 4)))
    if kind == "letters":
        return _several(draw, LETTERS, 3, 9)
    if kind == "digits":
        return _several(draw, DIGITS, 4, 7)
    if kind == "command":
        return draw.choice(COMMANDS)
    words = [draw.choice(MODES), _several(draw, LETTERS, 2, 5)]
    if draw.random() < 0.7:
        words.append(_number(draw))
    words.append(_several(draw, DIGITS, 0, 2))
    return " ".join(filter(None, words))


def say_word(word: str) -> str:
    """Write a word as espeak-ng has to read it."""
    return SAID.get(word, word.lower())


def _day(draw: random.Random) -> str:
    # Each ordinal word is as likely as the next, and units half of the time follow TWENTY.
    day = draw.choice((*range(1, 21), 30))
    if day < 10 and draw.random() < 0.5:
        day += 20
    return spell_ordinal(str(day)).upper()


def _number(draw: random.Random, least: int = 10) -> str:
    # Half of them below TWENTY, which are words of their own.
    number = draw.choice((draw.randrange(least, 100), draw.randrange(10, 20)))
    return spell_cardinal(str(number)).upper()


def _several(draw: random.Random, words: str | tuple[str, ...], least: int, most: int) -> str:
    return " ".join(draw.choice(words) for _ in range(draw.randint(least, most)))


# Three speakers of one variant differ by pitch and speed.
CENSUS_SCRIPT = Script(compose_entry, say_word, accents=("en-us",) * 3, recorded=True)
CENSUS = spoken_corpus(
    "dates, numbers, letters read by espeak-ng, to train beside an4; made if DIR has none",
    CENSUS_SCRIPT,
    {"train": SpokenSplit(60, 8)},
)
