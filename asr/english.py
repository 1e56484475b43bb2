"""English transcripts made comparable: one way of writing what can be written in many ways.

Both sides of a comparison are turned into what was spoken, in lower case, in this order:

1. Letters: compatibility forms (NFKC) and signs typed for an apostrophe are unified, case is
   folded, accents are taken off Latin letters (``Café`` is cafe).
2. Abbreviations: points between single letters go (``U.S.A.`` is usa, ``a.m.`` is am).
3. Numbers become words: ``1,234`` one thousand two hundred thirty four; ``1984`` nineteen eighty
   four (1100 to 2099 without a comma is read as a year, 2000 to 2009 as two thousand ...);
   ``1980s`` nineteen eighties; ``21st`` twenty first; ``3.14`` three point one four; ``007`` zero
   zero seven; ``10:30`` ten thirty, ``10:05`` ten oh five, ``10:00`` ten o'clock; ``1/2`` one half;
   ``$3.50`` three dollars fifty cents; ``$2.5 million`` two point five million dollars; ``5%``
   five percent; ``-5`` minus five.
4. Signs that are spoken become words: & and, + plus, @ at, = equals, # number before a digit,
   ° degrees.
5. All other punctuation becomes a space, hyphens too; an apostrophe stays within a word.
6. Contractions are written out where they have one reading: can't can not, won't will not, n't
   not, 're are, 've have, 'll will, I'm I am, let's let us, y'all you all, gonna going to, wanna
   want to, gotta got to, and 's is after it, he, she, that, there, here, what, who, where, how.
   Possessives (john's), 'd and ain't stay.
7. Words of one meaning get one spelling: mr mister, mrs missus, dr doctor, vs versus, etc et
   cetera, okay ok, per cent percent, British spellings of a short list American ones.
8. "and" goes between hundred, thousand, million or billion and a number word, and between
   dollars, pounds or euros and one.

No word is ever dropped for being a hesitation or repeated; a file of equivalents can do that.
What cannot be known stays different: ``1984`` for one thousand nine hundred eighty four, ``it's``
for it has, spelled letters, telephone numbers read as pairs.
"""

import re
import unicodedata

from asr.numerals import (
    NUMBER_WORDS,
    spell_cardinal,
    spell_decimal,
    spell_digits,
    spell_ordinal,
    spell_plural,
    spell_year,
)

# Signs that people type for an apostrophe: quotes, the modifier letter, the acute accent.
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\uff07\u00b4", "'"))
_FRACTIONS = str.maketrans({"½": " 1/2 ", "⅓": " 1/3 ", "⅔": " 2/3 ", "¼": " 1/4 ", "¾": " 3/4 "})
_PARTS = {"2": "half", "3": "third", "4": "quarter"}
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
}
_SIGNS = str.maketrans(
    {
        "&": " and ",
        "+": " plus ",
        "@": " at ",
        "=": " equals ",
        "%": " percent ",
        "°": " degrees ",
        "¢": " cents ",
    }
)
_WHOLE_WORDS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "ain't",
    "i'm": "i am",
    "let's": "let us",
    "y'all": "you all",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "got to",
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "vs": "versus",
    "etc": "et cetera",
    "okay": "ok",
}
_WHOLE_WORDS |= {
    f"{word}'s": f"{word} is"
    for word in ("it", "he", "she", "that", "there", "here", "what", "who", "where", "how")
}
_ENDINGS = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will"}
_OUR = "colo hono favo labo neighbo behavio flavo humo harbo rumo vapo endeavo odo"
_ISE = "real organ recogn apolog critic emphas special general character civil colon memor"
_WHOLE_WORDS |= {
    **{
        f"{stem}ur{ending}": f"{stem}r{ending}"
        for stem in _OUR.split()
        for ending in ("", "s", "ed", "ing", "able", "ite", "ites", "er", "ers", "hood", "hoods")
    },
    **{
        f"{stem}is{ending}": f"{stem}iz{ending}"
        for stem in _ISE.split()
        for ending in ("e", "es", "ed", "ing", "er", "ers", "ation", "ations")
    },
    **{
        f"{british}{ending}": f"{american}{ending}"
        for british, american in (
            ("centre", "center"),
            ("theatre", "theater"),
            ("metre", "meter"),
            ("kilometre", "kilometer"),
            ("litre", "liter"),
            ("grey", "gray"),
            ("defence", "defense"),
            ("offence", "offense"),
            ("programme", "program"),
            ("jewellery", "jewelry"),
            ("cheque", "check"),
            ("plough", "plow"),
            ("catalogue", "catalog"),
            ("dialogue", "dialog"),
        )
        for ending in ("", "s")
    },
    "travelled": "traveled",
    "travelling": "traveling",
    "traveller": "traveler",
    "travellers": "travelers",
    "cancelled": "canceled",
    "cancelling": "canceling",
}
_MAGNITUDE = "hundred|thousand|million|billion|trillion"
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_MONEY = re.compile(rf"([$€£])\s?({_NUMBER})(?:\.([0-9]+))?(?:\s?({_MAGNITUDE})\b|(?![0-9]))")
_TIME = re.compile(r"(?<![0-9:.])([01]?[0-9]|2[0-3]):([0-5][0-9])(?![0-9:])")
_SHARE = re.compile(r"(?<![0-9/.,])(?:([0-9]+)\s)?([1-9])/([234])(?![0-9/])")
_DECADE = re.compile(r"(?<![0-9.,])'?((?:1[1-9]|20)?[1-9]0)'?s\b")
_ORDINAL = re.compile(rf"(?<![0-9.,])({_NUMBER})(?:st|nd|rd|th)\b")
_YEAR = re.compile(r"(?<![0-9.,])(1[1-9][0-9]{2}|20[0-9]{2})(?![0-9]|[.,][0-9])")
_DECIMAL = re.compile(rf"({_NUMBER})?\.([0-9]+)")
_MINUS = re.compile(r"(?:(?<=\s)|^)[-\u2212](?=[0-9.])")
_INITIALS = re.compile(r"\b(?:[a-z]\.){2,}|\b(?:[a-z]\.)+[a-z]\b")
_TITLE = re.compile(r"\b(mr|mrs|dr|vs|etc)\.")
_ASCII_WORD = re.compile(r"[a-z0-9']+")
_PER_CENT = re.compile(r"\bper cent\b")
_AND = re.compile(
    rf"\b({_MAGNITUDE}|dollars?|pounds?|euros?)(?: and)+(?= (?:{'|'.join(sorted(NUMBER_WORDS))})\b)"
)


def normalize_english(text: str) -> str:
    """Apply all rules of this file.

    Args:
        text: a transcript in English.

    Returns:
        Words of lower-case letters and inner apostrophes, separated by single spaces; letters and
        digits of other scripts stay. A second pass changes nothing.
    """
    for _ in range(_PASSES):
        normalized = _pass(text)
        if normalized == text:
            break
        text = normalized
    return text


# The second pass finds nothing to do in all but contrived texts; "it's're" takes a third.
_PASSES = 8


def _pass(text: str) -> str:
    text = _spell_numbers(_unify_letters(text))
    text = " ".join(map(_expand, _words_of(text.translate(_SIGNS))))
    text = _PER_CENT.sub("percent", text) if "per cent" in text else text
    return _AND.sub(r"\1", text) if " and " in text else text


def _unify_letters(text: str) -> str:
    if not text.isascii():
        # NFKC would glue a fraction to the number before it: 2½ is not 21/2.
        text = text.translate(_FRACTIONS)
        text = unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).casefold()
        bare: list[str] = []
        for character in unicodedata.normalize("NFKD", text.translate(APOSTROPHES)):
            if unicodedata.combining(character) and bare and bare[-1].isascii():
                continue
            bare.append(character)
        text = unicodedata.normalize("NFC", "".join(bare))
    text = text.lower()
    if "." not in text:
        return text
    text = _TITLE.sub(r"\1 ", text)
    return _INITIALS.sub(lambda match: match[0].replace(".", "") + " ", text)


def _spell_numbers(text: str) -> str:
    if not re.search("[0-9]", text):
        return text
    text = text.replace("#", " number ")
    text = _MINUS.sub(" minus ", text)
    text = _MONEY.sub(_spell_money, text)
    text = _TIME.sub(_spell_time, text)
    text = _SHARE.sub(_spell_share, text)
    text = _DECADE.sub(lambda match: f" {spell_plural(_year_or_number(match[1]))} ", text)
    text = _ORDINAL.sub(lambda match: f" {spell_ordinal(match[1].replace(',', ''))} ", text)
    text = _YEAR.sub(lambda match: f" {spell_year(match[1])} ", text)
    text = _DECIMAL.sub(
        lambda match: f" {spell_decimal((match[1] or '').replace(',', ''), match[2])} ", text
    )
    return re.sub(_NUMBER, lambda match: f" {spell_cardinal(match[0].replace(',', ''))} ", text)


def _year_or_number(digits: str) -> str:
    return spell_year(digits) if len(digits) == 4 else spell_cardinal(digits)


def _spell_money(match: re.Match[str]) -> str:
    one, many, cent, cents = _CURRENCIES[match[1]]
    whole, fraction, magnitude = match[2].replace(",", ""), match[3], match[4]
    if magnitude:
        amount = spell_decimal(whole, fraction) if fraction else spell_cardinal(whole)
        return f" {amount} {magnitude} {many} "
    if fraction and len(fraction) != 2:
        return f" {spell_decimal(whole, fraction)} {many} "
    parts = []
    if int(whole) or not int(fraction or 0):
        parts.append(f"{spell_cardinal(whole)} {one if int(whole) == 1 else many}")
    if int(fraction or 0):
        hundredths = str(int(fraction))
        parts.append(f"{spell_cardinal(hundredths)} {cent if hundredths == '1' else cents}")
    return f" {' '.join(parts)} "


def _spell_time(match: re.Match[str]) -> str:
    hour, minute = str(int(match[1])), match[2]
    if minute == "00":
        return f" {spell_cardinal(hour)} o'clock "
    if minute[0] == "0":
        return f" {spell_cardinal(hour)} oh {spell_digits(minute[1])} "
    return f" {spell_cardinal(hour)} {spell_cardinal(minute)} "


def _spell_share(match: re.Match[str]) -> str:
    number, part = match[2], _PARTS[match[3]]
    if number != "1":
        part = "halves" if part == "half" else part + "s"
    if match[1] is None:
        return f" {spell_cardinal(number)} {part} "
    count = "a" if number == "1" else spell_cardinal(number)
    return f" {spell_cardinal(match[1])} and {count} {part} "


def _words_of(text: str) -> list[str]:
    if text.isascii():
        found = _ASCII_WORD.findall(text)
        return [word.strip("'") for word in found if word.strip("'")] if "'" in text else found
    kept = [
        character if character == "'" or unicodedata.category(character)[0] in "LMN" else " "
        for character in text
    ]
    return [word.strip("'") for word in "".join(kept).split() if word.strip("'")]


def _expand(word: str) -> str:
    if word in _WHOLE_WORDS:
        return _WHOLE_WORDS[word]
    if "'" in word:
        for ending, expansion in _ENDINGS.items():
            stem = word.removesuffix(ending)
            if stem and stem != word:
                return f"{_expand(stem)} {expansion}"
    return word
