"""Scorers against brute force: a text's sum is that of its words, whatever was guessed before."""

import itertools
import math

import numpy as np
import pytest
from lm_texts import SENTENCES, small_model, small_tokenizers

from asr.decoding.scorer import score_tokens
from asr.errors import LanguageModelError, UsageError
from asr.lm.hotwords import HotwordScorer, Phrase, read_phrases
from asr.lm.lexicon import NONE, Lexicon
from asr.lm.loading import load_scorer
from asr.lm.token_scorer import TokenNGramScorer
from asr.lm.word_scorer import WordNGramScorer
from asr.tokenizer import CharacterTokenizer, Tokenizer

LN10 = math.log(10)
TOKENIZERS = small_tokenizers()


def random_tokens(tokenizer: Tokenizer, rng: np.random.Generator) -> list[int]:
    """Draw tokens: from sentences, cut anywhere, with spaces in odd places, and noise."""
    tokens = tokenizer.encode(SENTENCES[rng.integers(len(SENTENCES))])
    for _ in range(rng.integers(0, 5)):
        place = int(rng.integers(0, len(tokens) + 1))
        tokens.insert(place, int(rng.integers(1, tokenizer.vocabulary_size)))
    return tokens[: rng.integers(0, len(tokens) + 1)]


def words_score(model, words, penalty=0.0, names=()):
    """Sum a sentence's natural logarithms by the rules that are documented."""
    unigrams = model.trie.log10_prob[4 : 1 + len(model.words)]
    total, state = 0.0, model.start()
    for word in words:
        score, state = model.score(state, model.word_id(word))
        if model.word_id(word) == 0:
            score = max(score, float(unigrams.min())) + (0 if word in names else penalty / LN10)
        total += score
    return LN10 * (total + model.final(state))


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("look_ahead", [True, False])
def test_word_scores_sum_to_those_of_the_text(tmp_path, kind, look_ahead):
    tokenizer, model = TOKENIZERS[kind], small_model(tmp_path)
    scorer = WordNGramScorer(
        model, tokenizer, 0.7, unknown_penalty=-3.0, known=["ZOE", "MATT"], look_ahead=look_ahead
    )
    rng = np.random.default_rng(1)
    for _ in range(300):
        tokens = random_tokens(tokenizer, rng)
        words = tokenizer.decode(tokens).split()
        expected = 0.7 * words_score(model, words, -3.0, ("ZOE", "MATT"))
        assert score_tokens(scorer, tokens) == pytest.approx(expected)
    text = "THE ZOE SAT MATT"
    expected = 0.7 * words_score(model, text.split(), -3.0, ("ZOE", "MATT"))
    characters = TOKENIZERS["characters"]
    scorer = WordNGramScorer(model, characters, 0.7, unknown_penalty=-3.0, known=["ZOE", "MATT"])
    assert score_tokens(scorer, characters.encode(text)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_look_ahead_is_the_best_that_can_still_come(tmp_path, kind):
    tokenizer, model = TOKENIZERS[kind], small_model(tmp_path)
    scorer = WordNGramScorer(model, tokenizer, unknown_penalty=-100.0)
    words = list(model.words[3:])
    for history, start in itertools.product(("", "THE ", "A CAT "), ("T", "CA", "DO", "M", "S")):
        state = scorer.start()
        total = 0.0
        context = model.start()
        for letter in history + start:
            for token in tokens_of(tokenizer, letter):
                score, state = scorer.score(state, token)
                assert score <= 0 <= scorer.highest
                total += score
        for word in history.split():
            context = model.score(context, model.word_id(word))[1]
        scores = [
            model.score(context, model.word_id(word))[0] for word in words if word.startswith(start)
        ]
        before = words_before(model, history.split())
        # A bound from above: back-off may promise a seen word more than it gets.
        assert LN10 * max(scores) + before <= total + 1e-9
        assert total <= before + LN10 * max(scores) + LN10 * 0.35


def tokens_of(tokenizer: Tokenizer, letter: str) -> list[int]:
    return [tokenizer.pieces.index(letter)]


def words_before(model, words):
    total, state = 0.0, model.start()
    for word in words:
        score, state = model.score(state, model.word_id(word))
        total += score
    return LN10 * total


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_token_scores_are_the_models(tmp_path, kind):
    tokenizer = TOKENIZERS[kind]
    model = small_model(tmp_path, tokenizer)
    scorer = TokenNGramScorer(model, tokenizer, 0.5)
    for sentence in SENTENCES:
        tokens = tokenizer.encode(sentence)
        names = [tokenizer.tokens[token].replace(" ", "<space>") for token in tokens]
        expected = sum(model.score_words([model.word_id(name) for name in names]))
        assert score_tokens(scorer, tokens) == pytest.approx(0.5 * LN10 * expected)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_hotwords_leave_their_weight_where_they_stand_and_nothing_else(kind):
    tokenizer = TOKENIZERS[kind]
    phrases = [
        Phrase("CAT", 0.5),
        Phrase("CATS", 1.5),
        Phrase("THE CAT", 0.25),
        Phrase("CAT SAT ON", 2.0),
        Phrase("A", 3.0),
        Phrase("A A", 1.0),
        Phrase("SAT", 1.0),
        Phrase("SAT", 0.1),
    ]
    scorer = HotwordScorer(phrases, tokenizer)
    rng = np.random.default_rng(2)
    for _ in range(500):
        tokens = random_tokens(tokenizer, rng)
        text = f" {tokenizer.decode(tokens)} "
        expected = sum(
            phrase.weight * len(phrase.text)
            for phrase in phrases[:-1]
            for place in range(len(text))
            if text.startswith(f" {phrase.text} ", place)
        )
        state, total = scorer.start(), 0.0
        for token in tokens:
            score, state = scorer.score(state, token)
            assert score <= scorer.highest + 1e-9
            total += score
        assert total + scorer.final(state) == pytest.approx(expected, abs=1e-9)


def test_a_phrase_is_preferred_from_its_first_letter_on():
    tokenizer = TOKENIZERS["characters"]
    scorer = HotwordScorer([Phrase("ZOE", 2.0)], tokenizer)
    state, scores = scorer.start(), []
    for token in tokenizer.encode("ZOO ZOE"):
        score, state = scorer.score(state, token)
        scores.append(score)
    assert scores == [2, 2, -4, 0, 2, 2, 2]
    assert scorer.final(state) == 0


def test_lists_of_phrases(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeff# people\nANNA  MARIA\n\nZOE\t2.5\n", encoding="utf-8")
    assert read_phrases(path, 1.5) == [Phrase("ANNA MARIA", 1.5), Phrase("ZOE", 2.5)]
    for content, message in (
        ("ZOE\tmuch\n", "line 1 'ZOE\tmuch': the weight is 'much'"),
        ("A\nZOE\t-1\n", "line 2"),
        ("# none\n", "holds none"),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=message):
            read_phrases(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_phrases(tmp_path / "missing.txt")


def test_a_phrase_with_an_unknown_character_is_refused_by_name():
    for tokenizer in TOKENIZERS.values():
        with pytest.raises(UsageError, match=r"hotword 'CATË': character 'Ë'"):
            HotwordScorer([Phrase("CAT"), Phrase("CATË")], tokenizer)


def test_models_of_other_units_are_refused(tmp_path):
    characters, pieces = TOKENIZERS["characters"], TOKENIZERS["sentencepiece"]
    of_words, of_tokens = small_model(tmp_path), small_model(tmp_path, pieces)
    with pytest.raises(LanguageModelError, match="one of words; expected one of tokens"):
        TokenNGramScorer(of_words, characters)
    with pytest.raises(LanguageModelError, match="one of tokens; expected one of words"):
        WordNGramScorer(of_tokens, characters)
    with pytest.raises(LanguageModelError, match="tokens of another tokenizer"):
        load_scorer(tmp_path / "lm.bin", characters, 0.5)
    lower = CharacterTokenizer.train(["abcdefghijklmnopqrstuvwxyz "])
    with pytest.raises(LanguageModelError, match="cannot be spelled"):
        WordNGramScorer(of_words, lower)
    with pytest.raises(UsageError, match=r"weight is -0\.5"):
        load_scorer(tmp_path / "lm.bin", pieces, -0.5)


def test_a_lexicon_is_the_trie_of_its_words():
    words = ["A", "AN", "AND", "ANDY", "B", "BÄR", "𝕏Y"]
    lexicon = Lexicon(reversed(words))
    for text in [word[:i] for word in (*words, "ANX", "C", "BÄ𝕏") for i in range(1, 5)]:
        node = 0
        for letter in text:
            node = lexicon.child(node, letter) if node != NONE else NONE
        beginning = [word for word in words if word.startswith(text)]
        assert (node != NONE) == bool(beginning)
        if node != NONE:
            assert lexicon.words[lexicon.low[node] : lexicon.high[node]] == sorted(beginning)
            place = lexicon.word(node)
            assert (lexicon.words[place] if place != NONE else None) == (
                text if text in words else None
            )
