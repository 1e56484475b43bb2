"""Decoders as a recognizer holds them: n-best, rescoring, the word bonus, options in a folder."""

import math

import pytest
import torch

from asr.decoding import BeamSearch, Pruning
from asr.decoding.align import align
from asr.decoding.decoder import BeamDecoder, GreedyDecoder, rescore
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.options import DecoderOptions
from asr.decoding.scorer import score_tokens
from asr.decoding.word_bonus import WordBonus
from asr.errors import ConfigError, UsageError
from asr.tokenizer import CharacterTokenizer, SentencePieceTokenizer


class Likes:
    """Gives a text as much as it has of one token."""

    def __init__(self, token: int, weight: float) -> None:
        self.token, self.weight = token, weight
        self.highest = max(0.0, weight)

    def start(self) -> None:
        return None

    def score(self, state: None, token: int) -> tuple[float, None]:
        return self.weight * (token == self.token), None

    def final(self, state: None) -> float:
        return 0.0


def frames(seed: int = 0, length: int = 12) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.log_softmax(3 * torch.randn(length, 5, generator=draw), -1)


def test_the_frames_of_every_hypothesis_are_its_alignment():
    log_probs = frames()
    found = BeamDecoder(BeamSearch(), nbest=4).decode(log_probs)
    assert len(found) == 4
    assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    for hypothesis in found:
        alignment = align(log_probs, hypothesis.tokens)
        assert alignment is not None
        assert hypothesis.frames == alignment.first_frames
        assert alignment.log_prob <= hypothesis.log_prob + 1e-6
    [greedy] = GreedyDecoder().decode(log_probs)
    assert len(greedy.frames) == len(greedy.tokens)


def test_no_frame_no_word():
    for decoder in (GreedyDecoder(), BeamDecoder(BeamSearch(), nbest=3)):
        [found] = decoder.decode(torch.empty(0, 5))
        assert (found.tokens, found.frames, found.log_prob) == ((), (), 0.0)


def test_rescoring_with_a_scorer_is_as_good_as_searching_with_it():
    wide = Pruning(beam_size=200, token_threshold=30.0, beam_threshold=60.0)
    for seed in range(4):
        log_probs = frames(seed, 6)
        scorer = Likes(2, 1.0)
        [within] = BeamDecoder(BeamSearch(wide, [scorer])).decode(log_probs)
        [after] = BeamDecoder(
            BeamSearch(wide),
            rescorers=[lambda found, s=scorer: [score_tokens(s, each.tokens) for each in found]],
        ).decode(log_probs)
        assert after.tokens == within.tokens
        assert after.score == pytest.approx(within.score, abs=1e-6)


def test_rescoring_puts_the_best_sum_first():
    given = [Hypothesis((1,), (0,), -1.0, -0.5), Hypothesis((2,), (0,), -2.0, -0.5)]
    first, second = rescore(given, [0.0, 1.5])
    assert (first.tokens, first.scorer_score, first.score) == ((2,), 1.0, -1.0)
    assert (second.tokens, second.scorer_score) == ((1,), -0.5)


def test_the_bonus_counts_words():
    letters = CharacterTokenizer([" ", "A", "B"])
    bonus = WordBonus(letters, 0.7)
    assert bonus.highest == pytest.approx(0.7)
    for text, words in (("", 0), ("A", 1), ("AB BA", 2), ("A B A", 3)):
        assert score_tokens(bonus, letters.encode(text)) == pytest.approx(0.7 * words)
    # Spaces at the ends and doubled ones carry no word.
    assert score_tokens(bonus, [1, 2, 1, 1, 3, 1]) == pytest.approx(1.4)
    texts = ["ONE TWO THREE", "TWO ONE", "THREE FOUR FIVE", "ONTO FIVE", "WON TOO"]
    pieces = SentencePieceTokenizer.train(texts, 20)
    for text in texts:
        tokens = pieces.encode(text)
        assert score_tokens(WordBonus(pieces, -1.0), tokens) == -len(text.split())
    assert WordBonus(pieces, -1.0).highest == 0.0


def test_a_bonus_makes_texts_longer():
    letters = CharacterTokenizer([" ", "A", "B", "C"])
    log_probs = frames(3, 30)
    counts = [
        len(
            letters.decode(
                BeamSearch(scorers=[WordBonus(letters, b)]).decode(log_probs)[0].tokens
            ).split()
        )
        for b in (-5.0, 0.0, 5.0)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"decoder\.kind is 'viterbi'; expected greedy or beam"):
        DecoderOptions(kind="viterbi")
    with pytest.raises(ConfigError, match="temperature"):
        DecoderOptions(temperature=0.0)
    with pytest.raises(UsageError, match="the beam size is 0; expected 1 or more"):
        DecoderOptions(beam_size=0)
    assert math.isclose(DecoderOptions(beam_threshold=9.0).pruning.beam_threshold, 9.0)
