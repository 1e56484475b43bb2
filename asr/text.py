"""Transcript normalisation: rules with a name and a version, since a score depends on them."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from asr.english import APOSTROPHES, normalize_english
from asr.errors import UsageError


@dataclass(frozen=True)
class Normalizer:
    """A named rule that turns a transcript into the words that are compared.

    Attributes:
        name: what users type.
        version: raised whenever the rule's result changes for any text.
        summary: what the rule does, in one line.
        apply: the rule.
    """

    name: str
    version: int
    summary: str
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.apply(text)

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


def _fold_spaces(text: str) -> str:
    # ASCII is in every normal form.
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def _is_letter(character: str) -> bool:
    # A combining mark belongs to the letter before it.
    return unicodedata.category(character)[0] in "LM"


def _librispeech(text: str) -> str:
    # NFKC would break the acute accent into a space and a mark; upper case can bring forth new
    # modifier apostrophes, hence the second translation.
    text = unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).upper()
    text = text.translate(APOSTROPHES)
    kept = []
    for position, character in enumerate(text):
        if character == "'":
            # An apostrophe belongs to a word (JOHN'S, 'TIS, BOYS'); one that stands alone does not.
            beside = text[max(0, position - 1) : position] + text[position + 1 : position + 2]
            kept.append("'" if any(_is_letter(character) for character in beside) else " ")
        else:
            kept.append(character if unicodedata.category(character)[0] in "LMN" else " ")
    return _fold_spaces("".join(kept))


NORMALIZERS = {
    rule.name: rule
    for rule in (
        Normalizer("none", 1, "Unicode NFC and single spaces, nothing else", _fold_spaces),
        Normalizer(
            "librispeech",
            1,
            "upper case, apostrophes of words kept, other punctuation to spaces",
            _librispeech,
        ),
        Normalizer(
            "english",
            1,
            "lower case, no punctuation, numbers as words, contractions written out",
            normalize_english,
        ),
    )
}


def normalize_text(text: str, normalizer: str) -> str:
    """Apply the normalisation rule of a given name.

    Args:
        text: a transcript.
        normalizer: a key of ``NORMALIZERS``.

    Returns:
        The normalised transcript, words separated by single spaces.

    Raises:
        UsageError: no rule has that name.
    """
    if normalizer not in NORMALIZERS:
        raise UsageError(f"no normaliser '{normalizer}'; there are {', '.join(NORMALIZERS)}")
    return NORMALIZERS[normalizer](text)


def one_word(identity: str) -> str:
    """Make an id one word: whitespace, and the percent sign that escapes it, percent-encoded.

    Readers of ``id text`` lines split at the first whitespace; escaping the escape keeps distinct
    ids distinct.

    Args:
        identity: any id.
    """
    return "".join(
        quote(character) if character.isspace() or character == "%" else character
        for character in identity
    )


def readable(name: str) -> str:
    """Make a file's name valid Unicode: bytes that are none are written as ``\\xe9``.

    Args:
        name: may hold what ``os.fsdecode`` makes of such bytes.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
