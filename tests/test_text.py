"""Normalisation rules against hand-made cases."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.text import NORMALIZERS, normalize_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Quilter's  manner,\tPresents", "MR QUILTER'S MANNER PRESENTS"),
        ("don\u2019t", "DON'T"),
        ("don\u02bct", "DON'T"),
        ("don\u00b4t", "DON'T"),
        ("'tis the boys' 'own'", "'TIS THE BOYS' 'OWN'"),
        ("rock ' n ' roll", "ROCK N ROLL"),
        ("''", ""),
        ("\u02bc\u02bc", ""),
        ("twenty-one \u2014 or more\u2026", "TWENTY ONE OR MORE"),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u0065\u0301", "CAF\u00c9"),
        ("\ufb01ne \uff21\uff22", "FINE AB"),
        ("room 42", "ROOM 42"),
        ("", ""),
    ],
)
def test_librispeech_rule_on_cases_written_by_hand(text, expected):
    assert normalize_text(text, "librispeech") == expected


def test_librispeech_transcripts_are_left_as_they_are():
    line = "HE'S NOT THE BOYS' FATHER O'CLOCK"
    assert normalize_text(line, "librispeech") == line


def test_rule_none_keeps_case_and_punctuation():
    assert normalize_text(" It's  e\u0301asy,\nno? ", "none") == "It's \u00e9asy, no?"


@pytest.mark.parametrize("name", sorted(NORMALIZERS))
@settings(deadline=None)
@given(text=st.text())
def test_a_second_pass_changes_nothing(name, text):
    once = normalize_text(text, name)
    assert normalize_text(once, name) == once


@pytest.mark.parametrize("name", sorted(NORMALIZERS))
@settings(deadline=None)
@given(text=st.text())
def test_words_are_separated_by_single_spaces(name, text):
    words = normalize_text(text, name)
    assert words == " ".join(words.split())
    assert unicodedata.is_normalized("NFC", words)


def test_every_rule_tells_its_name_and_version():
    for name, rule in NORMALIZERS.items():
        assert rule.name == name
        assert str(rule) == f"{name} (version {rule.version})"


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="no normaliser 'whisper'; there are none, librispeech"):
        normalize_text("a", "whisper")
