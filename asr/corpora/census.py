"""Census: dates, numbers and spelled letters read by espeak-ng, to be heard beside AN4.

AN4's training set says most months and ordinal numbers once to four times and some never. Here 60
synthetic speakers say all of them, and letters and digits in between, with American accents, at
different loudness and with some noise. Commands and kinds of entries are AN4's (names spelled,
addresses, telephone numbers, dates of birth); months, ordinals and numbers are all there are.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from asr.corpora.corpus import Corpus
from asr.corpora.librispeech import CHARACTERS
from asr.corpora.reading import (
    SEED,
    Script,
    SpokenSpeaker,
    SpokenSplit,
    find_spoken_splits,
    read_aloud,
    read_spoken,
)
from asr.numerals import spell_cardinal, spell_ordinal

DEFAULT_SPLITS: Mapping[str, SpokenSplit] = MappingProxyType({"train": SpokenSplit(60, 8)})

MONTHS = (
    *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER"),
    *("OCTOBER", "NOVEMBER", "DECEMBER"),
)
DIGITS = ("ZERO", "OH", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
COMMANDS = ("YES", "NO", "GO", "STOP", "START", "HELP", "REPEAT")
MODES = ("ENTER", "RUBOUT", "ERASE")

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


def make_census_corpus(
    root: Path | str,
    splits: Mapping[str, SpokenSplit] = DEFAULT_SPLITS,
    *,
    seed: int = SEED,
    jobs: int | None = None,
) -> list[SpokenSpeaker]:
    """Make the corpus as ``root/LibriSpeech``, whole or not at all.

    Args:
        root: the folder to make it in.
        splits: size of each split by name.
        seed: of sentences and voices.
        jobs: processes that speak; as many as there are cores when None.

    Returns:
        The speakers in the order of their ids.

    Raises:
        UsageError, AudioError, OSError: as ``read_aloud``.
    """
    # Three speakers of one variant differ by pitch and speed.
    script = Script(compose_entry, say_word, accents=("en-us",) * 3, recorded=True)
    return read_aloud(root, script, splits, seed, jobs)


def compose_entry(draw: random.Random) -> str:
    """Make up what somebody might say to a census.

    Args:
        draw: the source of all choices.

    Returns:
        A date, numbers, letters, letters and numbers behind a command, digits, or a command.
    """
    kind = draw.choices(("date", "numbers", "letters", "entry", "digits", "command"), KINDS)[0]
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


# How often each kind is said; words that AN4 is short of stand in the first two.
KINDS = (32, 18, 20, 15, 10, 5)


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


CENSUS = Corpus(
    summary="dates, numbers, letters read by espeak-ng, to train beside an4; made if DIR has none",
    splits=find_spoken_splits,
    read=read_spoken,
    normalizer="librispeech",
    characters=CHARACTERS,
    generate=make_census_corpus,
)
