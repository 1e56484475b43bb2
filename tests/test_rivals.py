"""Two tokens that compete for one place, in greedy decoding and in a beam search."""

import itertools

import numpy as np
import pytest

from asr.decoding.decoder import BeamDecoder, GreedyDecoder
from asr.decoding.decoder_batch import BatchBeamDecoder
from asr.decoding.pruning import Pruning
from asr.decoding.rivals import settle_rivals, settling
from asr.decoding.search import make_search

# Of blank, A, B, C in one frame.
BLANK = (0.97, 0.01, 0.01, 0.01)


def decode(frames, below):
    with np.errstate(divide="ignore"):
        rows = np.log(np.array(frames, dtype=np.float64))
    [hypothesis] = settling(GreedyDecoder(), below).decode(rows)
    return hypothesis


def expected_count(frames, tokens):
    """Mean over all paths of how many of the frames show their token, by enumeration."""
    total = 0.0
    for path in itertools.product(range(len(frames[0])), repeat=len(frames)):
        probability = np.prod([frame[token] for frame, token in zip(frames, path, strict=True)])
        total += probability * sum(a == b for a, b in zip(path, tokens, strict=True))
    return total


def test_two_tokens_are_as_many_as_the_paths_have_on_average():
    generator = np.random.default_rng(5)
    seen = set()
    for _ in range(300):
        wins = [generator.uniform(0.51, 1), generator.uniform(0.51, 1)]
        first = [1 - wins[0] - 1e-9, wins[0], 1e-9, 0]
        second = [1 - wins[1] - 1e-9, 1e-9, wins[1], 0]
        count = round(expected_count([first, second], (1, 2)))
        found = decode([BLANK, first, second, BLANK], 1.5)
        better = int(wins[1] > wins[0])
        assert found.tokens == ((1, 2) if count == 2 else ((1, 2)[better],))
        assert found.frames == ((1, 2) if count == 2 else (1 + better,))
        seen.add(count)
    assert seen == {1, 2}


def test_only_neighbours_are_rivals():
    a, b = (0.4, 0.6, 0, 0), (0.4, 0, 0.6, 0)
    assert decode([a, BLANK, b], 1.5).tokens == (1, 2)
    assert decode([a, b], 1.5).tokens == (1,)
    assert decode([a, b], 1.2).tokens == (1, 2)
    assert decode([a, b], 0).tokens == (1, 2)
    # A token over several frames counts with its highest probability, and goes as a whole.
    assert decode([a, (0, 0.95, 0.05, 0), a, b], 1.5).tokens == (1, 2)
    assert decode([a, a, (0.3, 0, 0.7, 0)], 1.5).tokens == (2,)


def test_the_closest_rivals_settle_first():
    a, b, c = (0.3, 0.7, 0, 0), (0.4, 0, 0.6, 0), (0.1, 0, 0, 0.9)
    # B gives way to A, and C has no neighbour any more.
    found = decode([a, b, c, BLANK], 1.6)
    assert found.tokens == (1, 3)
    assert found.frames == (0, 2)
    # The probability of what gave way is the blank's.
    assert found.log_prob == pytest.approx(np.log([0.7, 1.0, 0.9, 0.97]).sum())


def random_log_probs(seed):
    generator = np.random.default_rng(seed)
    return [
        np.log(generator.dirichlet([0.15] * 6, size=length) + 1e-9).astype(np.float32)
        for length in generator.integers(0, 60, size=12)
    ]


def test_every_decoder_finds_rivals_settled():
    pruning = Pruning(beam_size=8, token_threshold=30.0, beam_threshold=60.0, blank_threshold=1.0)
    rows = random_log_probs(3)
    for decoder in (
        GreedyDecoder(),
        BeamDecoder(make_search(pruning, kind="plain")),
        BatchBeamDecoder(pruning, (), "cpu"),
    ):
        together = settling(decoder, 1.5).decode_batch(rows)
        assert together == [decoder.decode(settle_rivals(each, 1.5)) for each in rows]
        assert together != decoder.decode_batch(rows)
        assert settling(decoder, 0) is decoder


def test_what_is_settled_is_still_a_distribution_and_the_rest_is_untouched():
    changed = 0
    for rows in random_log_probs(4):
        before = rows.copy()
        settled = settle_rivals(rows, 1.5)
        assert (rows == before).all()
        np.testing.assert_allclose(np.exp(settled).sum(axis=-1), 1, atol=1e-5)
        frames = (settled != rows).any(axis=-1)
        # A frame that has changed goes to blank, next to one that has not gone.
        assert (settled[frames].argmax(axis=-1) == 0).all()
        assert (rows[frames].argmax(axis=-1) != 0).all()
        changed += frames.sum()
        # Nothing is left to settle.
        assert settle_rivals(settled, 1.5) is settled
    assert changed > 20
