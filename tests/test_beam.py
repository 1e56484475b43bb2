"""Beam search against every text there is, alone, in batches and in chunks, with scorers."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from asr.decoding.beam import BeamSearch
from asr.decoding.beam_batch import BatchBeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import NO_PRUNING, Pruning
from asr.decoding.scorer import ScorerSum, score_tokens
from asr.errors import UsageError

EVERYTHING = Pruning(
    beam_size=700, token_threshold=math.inf, beam_threshold=math.inf, blank_threshold=1.0
)


class Bigram:
    """Scores every token by the one before it, from a table; some pairs are impossible."""

    def __init__(self, vocabulary: int, seed: int, impossible: float = 0.0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(vocabulary, vocabulary, generator=draw).double()
        forbidden = torch.rand(vocabulary, vocabulary, generator=draw) < impossible
        forbidden[:, 0] = False
        self.table[forbidden] = -math.inf
        self.highest = float(self.table.max())

    def start(self) -> int:
        return 0

    def score(self, state: int, token: int) -> tuple[float, int]:
        return float(self.table[state, token]), token

    def final(self, state: int) -> float:
        return float(self.table[state, 0])


class Refund:
    """Gives for each token 2 what it takes back at the end; its bound is not known."""

    highest = math.inf

    def start(self) -> int:
        return 0

    def score(self, state: int, token: int) -> tuple[float, int]:
        return (1.5, state + 1) if token == 2 else (0.0, state)

    def final(self, state: int) -> float:
        return -1.5 * state


def random_log_probs(frames: int, vocabulary: int, seed: int, peak: float = 2.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    logits = peak * torch.randn(frames, vocabulary, generator=draw).double()
    return torch.log_softmax(logits, -1)


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token)


def all_texts(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Sum the probability of every path into that of its text."""
    frames, vocabulary = log_probs.shape
    rows = log_probs.exp().tolist()
    texts: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(vocabulary), repeat=frames):
        chance = math.prod(row[token] for row, token in zip(rows, path, strict=True))
        texts[collapse(path)] = texts.get(collapse(path), 0.0) + chance
    return texts


def ranked(log_probs: torch.Tensor, scorers: Sequence) -> list[tuple[tuple[int, ...], float]]:
    scorer = ScorerSum(scorers)
    scores = [
        (text, math.log(chance) + score_tokens(scorer, text))
        for text, chance in all_texts(log_probs).items()
    ]
    possible = [entry for entry in scores if entry[1] > -math.inf]
    return sorted(possible, key=lambda entry: -entry[1])


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-9)
        assert one.scorer_score == pytest.approx(other.scorer_score, abs=1e-9)


SCORERS = {
    "none": [],
    "bigram": [Bigram(4, 1)],
    "impossible pairs": [Bigram(4, 2, impossible=0.3)],
    "three": [Bigram(4, 3), Refund(), Bigram(4, 4)],
}


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_every_text_in_order(name, seed):
    log_probs = random_log_probs(5, 4, seed)
    truth = ranked(log_probs, SCORERS[name])
    alone = BeamSearch(NO_PRUNING, SCORERS[name]).decode(log_probs, nbest=10_000)
    batch = BatchBeamSearch(EVERYTHING, SCORERS[name])
    together = batch.decode(log_probs[None], torch.tensor([5]), nbest=10_000)[0]
    for found in (alone, together):
        assert [each.tokens for each in found] == [text for text, _ in truth]
        assert [each.score for each in found] == pytest.approx([score for _, score in truth])


PRUNINGS = [
    Pruning(),
    Pruning(beam_size=1),
    Pruning(beam_size=4, token_threshold=3.0, beam_threshold=4.0, blank_threshold=0.9),
    Pruning(beam_size=8, token_threshold=20.0, beam_threshold=2.0, blank_threshold=0.6),
]


def peaky(frames: int, vocabulary: int, seed: int) -> torch.Tensor:
    """Make frames as CTC has them: most are blank, others hold a token or two, all float32."""
    log_probs = random_log_probs(frames, vocabulary, seed, 3.0)
    log_probs[:, 0] += torch.where(torch.arange(frames) % 7 < 4, 12.0, 1.0)
    return log_probs.log_softmax(-1).float()


@pytest.mark.parametrize("pruning", PRUNINGS)
@pytest.mark.parametrize("name", SCORERS)
def test_alone_in_a_batch_and_in_chunks_it_is_the_same_search(pruning, name):
    vocabulary = 4 if name != "none" else 30
    lengths = [60, 1, 33, 47, 0]
    padded = torch.zeros(5, 60, vocabulary)
    for row, length in enumerate(lengths):
        padded[row, :length] = peaky(length, vocabulary, row)
    search = BeamSearch(pruning, SCORERS[name])
    together = BatchBeamSearch(pruning, SCORERS[name]).decode(padded, torch.tensor(lengths), 16)
    for row, length in enumerate(lengths):
        whole = padded[row, :length]
        alone = search.decode(whole, nbest=16)
        assert_same(together[row], alone)
        for size in (1, 5):
            state = search.start()
            for start in range(0, length, size):
                search.step(state, whole[start : start + size])
            streamed = search.finish(state, nbest=16)
            assert_same(streamed, alone)
            assert [each.frames for each in streamed] == [each.frames for each in alone]


def test_a_sure_blank_between_equal_tokens_keeps_them_apart():
    sure = [0.9996, 0.0002, 0.0002]
    token = [0.05, 0.9, 0.05]
    log_probs = torch.tensor([token, sure, sure, token]).log()
    pruning = Pruning(beam_size=2)
    assert BeamSearch(pruning).decode(log_probs)[0].tokens == (1, 1)
    [[found]] = BatchBeamSearch(pruning).decode(log_probs[None], torch.tensor([4]))
    assert found.tokens == (1, 1)
    # Skipped frames still count with their blank.
    assert found.log_prob == pytest.approx(2 * math.log(0.9) + 2 * math.log(0.9996), abs=1e-3)


def test_pruning_changes_little_and_a_beam_of_one_is_a_search():
    for seed in range(5):
        log_probs = peaky(60, 10, seed)
        [best] = BeamSearch(Pruning(beam_size=200, beam_threshold=50.0)).decode(log_probs)
        [found] = BeamSearch().decode(log_probs)
        assert found.tokens == best.tokens
        assert best.log_prob - 0.5 < found.log_prob <= best.log_prob + 1e-9
        [narrow] = BeamSearch(Pruning(beam_size=1)).decode(log_probs)
        assert narrow.log_prob <= best.log_prob + 1e-9


def test_a_long_utterance_does_not_underflow_and_partial_texts_grow():
    log_probs = random_log_probs(3000, 6, 0, 0.5)
    search = BeamSearch(Pruning(beam_size=4))
    state = search.start()
    assert search.best(state) == ()
    search.step(state, log_probs[:1500])
    partial = search.best(state)
    search.step(state, log_probs[1500:])
    [found] = search.finish(state)
    assert math.isfinite(found.log_prob)
    assert found.tokens[: len(partial) // 2] == partial[: len(partial) // 2]
    assert all(a < b for a, b in itertools.pairwise(found.frames))
    assert found.frames[-1] < 3000


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        BeamSearch().decode(torch.full((3, 4), math.nan))


def test_what_scorers_forbid_leaves_the_empty_text():
    nothing = Bigram(4, 0, impossible=1.1)
    log_probs = random_log_probs(5, 4, 0)
    [found] = BeamSearch(Pruning(), [nothing]).decode(log_probs)
    assert found.tokens == ()
    log_probs[2, 0] = -math.inf
    [found] = BeamSearch(Pruning(), [nothing]).decode(log_probs)
    assert (found.tokens, found.log_prob) == ((), -math.inf)
    [[found]] = BatchBeamSearch(Pruning(), [nothing]).decode(log_probs[None], torch.tensor([5]))
    assert (found.tokens, found.log_prob) == ((), -math.inf)


@pytest.mark.parametrize(
    "fields",
    [
        {"beam_size": 0},
        {"token_threshold": 0.0},
        {"beam_threshold": -1.0},
        {"blank_threshold": 0.2},
        {"blank_threshold": math.nan},
        {"token_threshold": math.nan},
    ],
)
def test_a_pruning_that_leaves_nothing_is_refused(fields):
    with pytest.raises(UsageError, match="expected"):
        Pruning(**fields)
