"""Numerals as English words: cardinals, ordinals, years, decimals, as they are mostly spoken."""

import re

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
# From here on digits are read one by one, as telephone and serial numbers are.
_LONGEST = 15

NUMBER_WORDS = frozenset(_ONES) | frozenset(_TENS[1:]) | {"hundred"} | {name for _, name in _SCALES}


def spell_cardinal(digits: str) -> str:
    """Spell a whole number: ``205`` is "two hundred five".

    Args:
        digits: ASCII digits. With a leading zero, or more than 15 of them, they are read one by
            one: ``007`` is "zero zero seven".

    Returns:
        Words in lower case, without "and" and without hyphens.
    """
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return spell_digits(digits)
    return " ".join(_cardinal(int(digits))) or "zero"


def _cardinal(number: int) -> list[str]:
    words = []
    for scale, name in _SCALES:
        if number >= scale:
            words += [*_cardinal(number // scale), name]
            number %= scale
    if number >= 100:
        words += [_ONES[number // 100], "hundred"]
        number %= 100
    if number >= 20:
        words.append(_TENS[number // 10])
        number %= 10
    if number:
        words.append(_ONES[number])
    return words


def spell_digits(digits: str) -> str:
    """Spell digits one by one: ``42`` is "four two"."""
    return " ".join(_ONES[int(digit)] for digit in digits)


def spell_decimal(whole: str, fraction: str) -> str:
    """Spell a decimal fraction: ``3.14`` is "three point one four".

    Args:
        whole: digits before the point; may be empty.
        fraction: digits after it, at least one.
    """
    before = f"{spell_cardinal(whole)} " if whole else ""
    return f"{before}point {spell_digits(fraction)}"


def spell_ordinal(digits: str) -> str:
    """Spell a place in an order: ``21`` is "twenty first"."""
    *before, last = spell_cardinal(digits).split()
    return " ".join([*before, _ORDINALS.get(last) or re.sub("y$", "ie", last) + "th"])


def spell_year(digits: str) -> str:
    """Spell four digits as years are said: ``1984`` is "nineteen eighty four".

    Args:
        digits: four digits, 1100 to 2099. 2000 to 2009 are "two thousand" and so on, 1905 is
            "nineteen oh five", 1900 is "nineteen hundred".
    """
    century, rest = digits[:2], digits[2:]
    if digits.startswith("200"):
        return spell_cardinal(digits)
    if rest == "00":
        return f"{spell_cardinal(century)} hundred"
    if rest[0] == "0":
        return f"{spell_cardinal(century)} oh {spell_cardinal(rest[1])}"
    return f"{spell_cardinal(century)} {spell_cardinal(rest)}"


def spell_plural(words: str) -> str:
    """Put the last of some words into the plural: "nineteen eighty" is "nineteen eighties"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")
