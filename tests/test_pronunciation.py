"""Pronunciations against a dictionary's."""

import pytest

from asr.errors import AudioError
from asr.pronunciation import pronounce


def test_words_are_said_as_in_the_dictionary():
    # General American as in Wiktionary, without marks of stress and length.
    expected = {
        "SIX": "s ɪ k s",
        "Seven": "s ɛ v ə n",
        "zero": "z iə ɹ oʊ",
        "EIGHTY": "eɪ ɾ i",
        "THOUSAND": "θ aʊ z ə n d",
        "DON'T": "d oʊ n t",
    }
    found = pronounce(expected)
    assert {word: " ".join(found[word]) for word in expected} == expected


def test_single_letters_are_said_by_their_names():
    found = pronounce("ABHWZ")
    assert found["A"] == ("eɪ",)
    assert found["B"] == ("b", "i")
    assert found["H"] == ("eɪ", "tʃ")
    assert found["Z"] == ("z", "i")
    assert found["W"][0] == "d"
    assert found["W"][-1] == "u"


def test_a_word_does_not_depend_on_the_others():
    words = ["READ", "THE", "A", "LIVE", "RECORD"]
    together = pronounce(words)
    assert {word: pronounce([word])[word] for word in words} == together


def test_a_sign_has_no_sound():
    assert pronounce(["'"]) == {"'": ()}


def test_an_accent_changes_the_sounds():
    assert pronounce(["CAR"], "en-us")["CAR"] != pronounce(["CAR"], "en-gb-scotland")["CAR"]


def test_an_unknown_accent_is_refused():
    with pytest.raises(AudioError, match="no voice 'en-moon'"):
        pronounce(["a"], "en-moon")
