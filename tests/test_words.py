"""Words with times and confidences: joined from tokens, placed in gaps, as sure as their tokens."""

import math

import numpy as np
import pytest
import torch

from asr.decoding.words import (
    Word,
    WordCalibration,
    WordSpan,
    entropy_confidence,
    time_words,
    word_spans,
)
from asr.tokenizer import CharacterTokenizer, SentencePieceTokenizer

LETTERS = CharacterTokenizer([" ", "A", "B"])
FRAME = 0.04


def peaks(path: list[int], chance: float = 0.97, vocabulary: int = 4) -> torch.Tensor:
    """Give the token of every frame the same probability, the others the rest."""
    rest = (1 - chance) / (vocabulary - 1)
    one_hot = torch.nn.functional.one_hot(torch.tensor(path), vocabulary)
    return torch.where(one_hot.bool(), chance, rest).double().log()


def times(words: tuple[Word, ...]) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start, 6), round(word.end, 6)) for word in words]


def test_words_are_joined_as_the_tokenizers_join_them():
    assert word_spans([1, 2, 3, 1, 1, 3, 1], LETTERS) == [WordSpan("AB", 1, 2), WordSpan("B", 5, 5)]
    assert word_spans([], LETTERS) == []
    assert word_spans([1, 1], LETTERS) == []
    texts = ["ONE TWO THREE", "TWO ONE", "THREE FOUR FIVE", "ONTO FIVE", "WON TOO"]
    for model_type in ("unigram", "bpe"):
        tokenizer = SentencePieceTokenizer.train(texts, 20, model_type)
        for text in texts:
            tokens = tokenizer.encode(text)
            spans = word_spans(tokens, tokenizer)
            assert " ".join(span.text for span in spans) == tokenizer.decode(tokens) == text
            owners = [p for span in spans for p in range(span.first, span.last + 1)]
            assert set(owners) <= set(range(len(tokens)))


def test_a_gap_is_shared_by_the_words_beside_it_and_a_pause_belongs_to_none():
    # A at 2, space at 3, B at 6; then a pause of 20 frames and A at 27.
    path = [0] * 30
    path[2], path[3], path[6], path[26], path[27] = 2, 1, 3, 1, 2
    words = time_words(peaks(path), [2, 1, 3, 1, 2], [2, 3, 6, 26, 27], LETTERS, FRAME)
    # 0.12 s is three frames, and the recording has 30.
    assert times(words) == [
        ("A", 0.0, round(4.5 * FRAME, 6)),
        ("B", round(4.5 * FRAME, 6), round(10 * FRAME, 6)),
        ("A", round(24 * FRAME, 6), round(30 * FRAME, 6)),
    ]


def test_the_offset_moves_words_but_not_out_of_the_recording():
    path = [2, 0, 0, 0]
    words = time_words(peaks(path), [2], [0], LETTERS, FRAME, WordCalibration(-0.04, 1.0))
    assert times(words) == [("A", 0.0, round(3 * FRAME, 6))]
    words = time_words(peaks(path), [2], [0], LETTERS, FRAME, WordCalibration(10.0, 1.0))
    assert times(words) == [("A", 0.16, 0.16)]


def test_a_repeated_token_lasts_until_its_last_frame():
    path = [0, 2, 2, 2, 0, 2, 0, 0]
    words = time_words(peaks(path), [2, 2], [1, 5], LETTERS, FRAME)
    assert times(words) == [("AA", 0.0, round(8 * FRAME, 6))]


def tsallis(chances: list[float], power: float = 1.0) -> float:
    """Write out equation and normalisation of arXiv 2212.08703 in float64."""
    p = np.array(chances) ** power
    p /= p.sum()
    order = 1 / 3
    entropy = (1 - np.sum(p**order)) / (order - 1)
    most = (1 - len(p) ** (1 - order)) / (order - 1)
    return float((np.exp(-entropy) - np.exp(-most)) / (1 - np.exp(-most)))


def test_confidence_is_the_entropy_of_the_paper():
    chances = [[0.7, 0.1, 0.15, 0.05], [0.25] * 4, [1.0, 0.0, 0.0, 0.0]]
    found = entropy_confidence(torch.tensor(chances, dtype=torch.float64).log())
    np.testing.assert_allclose(found, [tsallis(row) for row in chances], atol=1e-12)
    np.testing.assert_allclose(found[1:], [0.0, 1.0], atol=1e-12)


def test_a_word_is_as_sure_as_its_least_sure_token():
    log_probs = peaks([2, 0, 3, 0])
    log_probs[2] = torch.tensor([0.2, 0.1, 0.1, 0.6], dtype=torch.float64).log()
    [word] = time_words(log_probs, [2, 3], [0, 2], LETTERS, FRAME)
    assert word.probability == pytest.approx(tsallis([0.2, 0.1, 0.1, 0.6], 2.0), abs=1e-12)


def test_a_token_that_is_nowhere_likeliest_has_its_own_probability():
    log_probs = peaks([0, 0, 0])
    [word] = time_words(log_probs, [2], [1], LETTERS, FRAME)
    assert word.probability == pytest.approx(0.01, abs=1e-9)


def test_temperature_raises_confidence_and_certainty_is_one():
    log_probs = peaks([2], chance=0.9)
    cold, warm = (
        time_words(log_probs, [2], [0], LETTERS, FRAME, WordCalibration(0.0, temperature))[0]
        for temperature in (1.0, 2.0)
    )
    assert 0 < cold.probability < 1
    assert warm.probability == pytest.approx(cold.probability**0.5)
    certain = torch.tensor([[-math.inf, -math.inf, 0.0, -math.inf]])
    assert time_words(certain, [2], [0], LETTERS, FRAME)[0].probability == 1.0


def test_no_word_no_times():
    assert time_words(peaks([0, 1, 0]), [1], [1], LETTERS, FRAME) == ()
    assert time_words(torch.empty(0, 4), [], [], LETTERS, FRAME) == ()
