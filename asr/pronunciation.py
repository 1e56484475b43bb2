"""Pronunciations: the phonemes of words by espeak-ng's dictionaries and rules."""

import ctypes
from collections.abc import Iterable

from asr.espeak import Espeak, open_espeak

# Values of espeak-ng's public header, speak_lib.h.
_UTF8 = 1
_IPA = 2

_SEPARATOR = "_"
# Marks of stress and length: what they set apart sounds alike in single words.
_MARKS = str.maketrans("", "", "ˈˌː")


def pronounce(words: Iterable[str], voice: str = "en-us") -> dict[str, tuple[str, ...]]:
    """Look up or work out how words are said, each by itself.

    Args:
        words: in any case; a single letter is said by its name.
        voice: an accent of espeak-ng.

    Returns:
        Each word's phonemes in the International Phonetic Alphabet without marks of stress and
        length: ``"EIGHTY"`` is ``("eɪ", "ɾ", "i")``. None for a word without any sound.

    Raises:
        AudioError: there is no such voice, or espeak-ng cannot be loaded.
    """
    with open_espeak() as espeak:
        espeak.set_voice(voice)
        return {word: _phonemes(espeak, word.lower()) for word in sorted(set(words))}


def _phonemes(espeak: Espeak, word: str) -> tuple[str, ...]:
    translate = espeak.library.espeak_TextToPhonemes
    translate.restype = ctypes.c_char_p
    text = ctypes.create_string_buffer(word.encode())
    rest = ctypes.c_void_p(ctypes.addressof(text))
    found: list[str] = []
    # It translates a clause a call and leaves the place where the next one begins.
    while rest.value:
        clause = translate(ctypes.byref(rest), _UTF8, ord(_SEPARATOR) << 8 | _IPA) or b""
        found += clause.decode().translate(_MARKS).replace(" ", _SEPARATOR).split(_SEPARATOR)
    return tuple(phoneme for phoneme in found if phoneme)
