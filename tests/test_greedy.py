"""Greedy decoding where two tokens compete for one place."""

import itertools

import numpy as np
import pytest

from asr.decoding import greedy_decode

# Of blank, A, B, C in one frame.
BLANK = (0.97, 0.01, 0.01, 0.01)


def decode(frames, below):
    with np.errstate(divide="ignore"):
        rows = np.log(np.array(frames, dtype=np.float64))
    [hypothesis] = greedy_decode(rows[None], [len(rows)], below)
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
    # What gave way is blank in the alignment whose probability is told.
    assert found.log_prob == pytest.approx(np.log([0.7, 0.4, 0.9, 0.97]).sum())


def test_padding_and_batch_do_not_matter():
    generator = np.random.default_rng(3)
    rows = np.log(generator.dirichlet([0.15] * 6, size=(8, 40)))
    lengths = generator.integers(0, 41, size=8)
    together = greedy_decode(rows, lengths, 1.5)
    alone = [
        greedy_decode(row[None, :length], [length], 1.5)[0]
        for row, length in zip(rows, lengths.tolist(), strict=True)
    ]
    assert together == alone
    assert together != greedy_decode(rows, lengths)
