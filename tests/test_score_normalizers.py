"""The English normaliser rule by rule, and a user's file of equivalents."""

import pytest

from asr.errors import ScoringError
from asr.numerals import spell_cardinal, spell_ordinal, spell_year
from asr.scoring.equivalents import read_equivalents
from asr.text import NORMALIZERS, normalize_text


def english(text):
    return normalize_text(text, "english")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Rule 1: letters.
        ("CAF\u00c9 na\u00efve", "cafe naive"),
        ("don\u2019t \uff21\uff22\uff23", "do not abc"),
        ("Stra\u00dfe \u6771\u4eac", "strasse \u6771\u4eac"),
        # Rule 2: abbreviations.
        ("the U.S.A. at 7 a.m., e.g. J.R. Smith", "the usa at seven am eg jr smith"),
        # Rule 3: numbers.
        (
            "1,234 or 1234567",
            "one thousand two hundred thirty four or one million two hundred "
            "thirty four thousand five hundred sixty seven",
        ),
        (
            "in 1984, 2005 and 2024",
            "in nineteen eighty four two thousand five and twenty twenty four",
        ),
        ("1900 1905 1,905", "nineteen hundred nineteen oh five one thousand nine hundred five"),
        (
            "the 1980s, the 1990's and the '70s",
            "the nineteen eighties the nineteen nineties and the seventies",
        ),
        (
            "1st 2nd 3rd 12th 20th 21st 100th",
            "first second third twelfth twentieth twenty first one hundredth",
        ),
        ("3.14, 0.5 or .5", "three point one four zero point five or point five"),
        ("agent 007", "agent zero zero seven"),
        ("10:30, 10:05 and 10:00", "ten thirty ten oh five and ten o'clock"),
        ("1/2, 3/4 and 2\u00bd", "one half three quarters and two and a half"),
        (
            "$3.50 $1 \u00a31.01 \u20ac2",
            "three dollars fifty cents one dollar one pound one penny two euros",
        ),
        (
            "$2.5 million, $1,234.56",
            "two point five million dollars one thousand two hundred "
            "thirty four dollars fifty six cents",
        ),
        ("5% and 0.5 %", "five percent and zero point five percent"),
        ("-5 degrees", "minus five degrees"),
        ("B2B, 4x4", "b two b four x four"),
        # Rule 4: spoken signs.
        ("Smith & Co + #5 @ 20\u00b0", "smith and co plus number five at twenty degrees"),
        # Rule 5: punctuation.
        ('twenty-one \u2014 "or" (more)\u2026', "twenty one or more"),
        ("'tis the boys' 'own' o'clock", "tis the boys own o'clock"),
        # Rule 6: contractions; those of two readings and possessives stay.
        ("I'm sure we can't, won't, shouldn't've", "i am sure we can not will not should not have"),
        (
            "cannot they're I'll let's gonna it's what's",
            "can not they are i will let us going to it is what is",
        ),
        ("John's dog ain't here; I'd know", "john's dog ain't here i'd know"),
        # Rule 7: one spelling.
        ("Mr. and Mrs. Grey, okay? per cent", "mister and missus gray ok percent"),
        ("a super centre", "a super center"),
        ("colour favourite realised centre", "color favorite realized center"),
        # Rule 8: "and" within numbers.
        ("two hundred and five", "two hundred five"),
        ("three dollars and fifty cents", "three dollars fifty cents"),
        ("a hundred and more, dollars and sense", "a hundred and more dollars and sense"),
    ],
)
def test_english_rules_on_cases_written_by_hand(text, expected):
    assert english(text) == expected


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("It cost $1,250.", "it cost one thousand two hundred and fifty dollars"),
        ("On the 3rd of May, 1999.", "on the third of may nineteen ninety nine"),
        ("We've 15% left", "we have fifteen per cent left"),
        ("She's 42 years old.", "she is forty-two years old"),
    ],
)
def test_what_is_written_and_what_is_spoken_become_the_same(written, spoken):
    assert english(written) == english(spoken)


def test_no_spoken_word_is_dropped():
    assert english("um so uh the the [noise] (well)") == "um so uh the the noise well"


def test_librispeech_transcripts_keep_their_possessives():
    assert english("MISTER QUILTER'S MANNER") == "mister quilter's manner"


def test_numbers_are_spelled_as_counting_goes_on():
    words = [spell_cardinal(str(number)) for number in range(10_000)]
    assert len(set(words)) == 10_000
    assert words[0] == "zero"
    assert words[9999] == "nine thousand nine hundred ninety nine"
    assert spell_cardinal("1000000001") == "one billion one"
    assert spell_cardinal("1" * 16) == " ".join(["one"] * 16)


def test_every_ordinal_and_year_is_told_apart():
    assert len({spell_ordinal(str(number)) for number in range(1, 2000)}) == 1999
    assert len({spell_year(str(year)) for year in range(1100, 2100)}) == 1000


def test_the_rule_has_a_version():
    assert str(NORMALIZERS["english"]) == "english (version 1)"


@pytest.fixture
def equivalents(tmp_path):
    def read(content, normalizer="none"):
        path = tmp_path / "same.txt"
        path.write_text(content, encoding="utf-8")
        return read_equivalents(path, NORMALIZERS[normalizer])

    return read


def test_equivalents_replace_words_the_longest_rule_first(equivalents):
    same = equivalents("# ours\n\na => b\na c => d e\nuh =>\n")
    assert same("uh a c a uh c") == "d e b c"
    assert same("nothing here") == "nothing here"
    assert len(same) == 3


def test_what_a_rule_puts_in_is_not_replaced_again(equivalents):
    assert equivalents("a => b\nb => a\n")("a b") == "b a"


def test_rules_are_normalised_as_the_texts_are(equivalents):
    same = equivalents("gonna => going to\nDr. Smith => doctor smith\n", "librispeech")
    assert same("I'M GONNA SEE DR SMITH") == "I'M GOING TO SEE DOCTOR SMITH"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a b\n", "line 1 is 'a b'; expected a rule such as"),
        ("\n => b\n", "line 2 is '=> b'"),
        ("a => b\na => c\n", "line 2 has a second rule for 'a', which already becomes 'b'"),
        ("# nothing\n", "holds no rule"),
    ],
)
def test_a_broken_rule_is_named(equivalents, content, message):
    with pytest.raises(ScoringError, match=message):
        equivalents(content)
