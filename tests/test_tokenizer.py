"""Round trips through tokenizers, and what they refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, TokenizerError
from asr.tokenizer import (
    BLANK,
    CharacterTokenizer,
    SentencePieceTokenizer,
    load_tokenizer,
    train_tokenizer,
)

SENTENCES = (
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "PACK MY BOX WITH FIVE DOZEN LIQUOR JUGS",
    "HE'S NOT THE ONE WHO SAID IT",
    "CAF\u00c9 SOCIETY",
) * 5
LETTERS = sorted(set("".join(SENTENCES)) - {" "})


def sentences():
    words = st.text(st.sampled_from(LETTERS), min_size=1, max_size=8)
    return st.lists(words, max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def pieces():
    return SentencePieceTokenizer.train(SENTENCES, 44)


@pytest.fixture(scope="module", params=["characters", "sentencepiece"])
def tokenizer(request):
    return train_tokenizer(request.param, SENTENCES, 44)


@settings(deadline=None)
@given(text=sentences())
def test_decoding_gives_back_what_was_encoded(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 < index < tokenizer.vocabulary_size for index in ids)


@settings(deadline=None)
@given(text=sentences())
def test_ids_stand_for_the_named_tokens(tokenizer, text):
    spelled = "".join(tokenizer.tokens[index] for index in tokenizer.encode(text))
    assert spelled.replace("\u2581", " ").strip() == text


def test_the_blank_is_token_0_and_counted(tokenizer):
    assert BLANK == 0
    assert tokenizer.tokens[0] == "<blank>"
    assert tokenizer.vocabulary_size == len(tokenizer.tokens)


def test_characters_get_ids_in_code_point_order():
    tokenizer = CharacterTokenizer.train(["BA", "A C"])
    assert tokenizer.tokens == ("<blank>", " ", "A", "B", "C")
    assert tokenizer.encode("A CAB") == [2, 1, 4, 2, 3]


def test_sentencepiece_has_exactly_the_size_asked_for(pieces):
    assert pieces.vocabulary_size == 44


def test_a_saved_vocabulary_is_the_same_when_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tokenizer.kind, tmp_path)
    assert loaded.tokens == tokenizer.tokens
    assert all(loaded.encode(text) == tokenizer.encode(text) for text in SENTENCES)


@settings(deadline=None)
@given(letters=st.sets(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_characters_survive_saving(tmp_path_factory, letters):
    kept = sorted(letter for letter in letters if letter == " " or not letter.isspace())
    if kept:
        folder = tmp_path_factory.mktemp("vocabulary")
        CharacterTokenizer(kept).save(folder)
        assert CharacterTokenizer.load(folder).tokens == ("<blank>", *kept)


def test_spaces_that_ctc_doubles_are_folded():
    tokenizer = CharacterTokenizer(" AB")
    assert tokenizer.decode([1, 2, 1, 1, 3, 1]) == "A B"


@pytest.mark.parametrize("text", ["5 DOGS", "\u65e5"])
def test_an_unknown_character_is_named(tokenizer, text):
    code = f"{ord(text[0]):04X}"
    with pytest.raises(TokenizerError, match=rf"character '{text[0]}' \(U\+{code}\) in '{text}'"):
        tokenizer.encode(text)


def test_the_sign_sentencepiece_uses_for_spaces_is_no_letter(pieces):
    with pytest.raises(TokenizerError, match=r"U\+2581"):
        pieces.encode("THE\u2581FOX")


@pytest.mark.parametrize("kind", ["characters", "sentencepiece"])
@pytest.mark.parametrize("odd", ["\n", "\r", "\t", "\u00a0"])
def test_white_space_other_than_the_space_is_no_token(kind, odd):
    with pytest.raises(TokenizerError, match=f"U\\+{ord(odd):04X}"):
        train_tokenizer(kind, [*SENTENCES, f"A{odd}B"], 44)


def test_very_long_transcripts_are_learned_from_as_well():
    line = "ABCDEFGHI \u00c9" * 1000
    assert train_tokenizer("sentencepiece", [line], 13).encode("\u00c9")


@pytest.mark.parametrize("characters", [[], ["A", "A"], ["AB"]])
def test_a_vocabulary_needs_single_characters(characters):
    with pytest.raises(TokenizerError, match="single characters, each once"):
        CharacterTokenizer(characters)


@pytest.mark.parametrize(
    ("size", "reason"), [(5000, "too high"), (10, "smaller than"), (0, "such as 256")]
)
def test_a_size_out_of_reach_is_refused_in_one_sentence(size, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        train_tokenizer("sentencepiece", SENTENCES, size)
    assert str(size) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sentencepiece_needs_a_size():
    with pytest.raises(ConfigError, match=r"tokenizer\.vocabulary_size is needed"):
        train_tokenizer("sentencepiece", SENTENCES, None)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no tokenizer 'words'; there are characters"):
        train_tokenizer("words", SENTENCES, None)
    with pytest.raises(TokenizerError, match="no tokenizer 'words'; there are characters"):
        load_tokenizer("words", tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("characters", "tokenizer.txt", b"A\nB\n"),
        ("characters", "tokenizer.txt", b"<blank>\nA\nB"),
        ("characters", "tokenizer.txt", b"\xff\xfe"),
        ("characters", "tokenizer.txt", None),
        ("sentencepiece", "tokenizer.model", b"no model"),
        ("sentencepiece", "tokenizer.model", None),
    ],
)
def test_a_missing_or_broken_vocabulary_file_is_refused(tmp_path, kind, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(kind, tmp_path)
    assert "\n" not in str(caught.value)


def test_byte_pairs_join_the_most_frequent_neighbours_first():
    # Counted by hand: "B" and "C" stand together five times, "▁" and "A" three.
    tokenizer = SentencePieceTokenizer.train(["ABC BC BC", "A A BC BC"], 7, "bpe")
    assert tokenizer.tokens[1] == "BC"
    assert tokenizer.decode(tokenizer.encode("A BC ABC")) == "A BC ABC"


def test_byte_pairs_make_whole_words_of_a_small_set_of_them():
    words = ["SEVEN", "EIGHTY", "B", "RUBOUT"]
    texts = [f"{first} {second}" for first in words for second in words] * 3
    tokenizer = train_tokenizer("sentencepiece", texts, 40, "bpe")
    assert [len(tokenizer.encode(word)) for word in words] == [1, 1, 1, 1]


def test_an_unknown_type_of_subwords_is_refused():
    with pytest.raises(ConfigError, match="model_type is 'word'; expected one of unigram, bpe"):
        train_tokenizer("sentencepiece", SENTENCES, 44, "word")
