"""Forced alignment against all paths, against torchaudio, alone and in batches."""

import itertools
import math

import pytest
import torch
import torchaudio

from asr.decoding import greedy_decode
from asr.decoding.align import Alignment, align, align_hypothesis
from asr.decoding.align_batch import align_batch


def random_log_probs(frames: int, vocabulary: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.log_softmax(2 * torch.randn(frames, vocabulary, generator=draw).double(), -1)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token)


def best_of_all_paths(log_probs: torch.Tensor, tokens: tuple[int, ...]) -> float:
    """Try every path there is."""
    frames, vocabulary = log_probs.shape
    rows = log_probs.tolist()
    return max(
        (
            sum(row[token] for row, token in zip(rows, path, strict=True))
            for path in itertools.product(range(vocabulary), repeat=frames)
            if collapse(path) == tokens
        ),
        default=-math.inf,
    )


def path_of(alignment: Alignment, frames: int) -> list[int]:
    path = [0] * frames
    spans = zip(alignment.tokens, alignment.first_frames, alignment.last_frames, strict=True)
    for token, first, last in spans:
        path[first : last + 1] = [token] * (last + 1 - first)
    return path


CASES = [(), (1,), (2, 2), (1, 2, 1), (3, 3, 3), (1, 2, 3, 1), (1, 1, 2, 2), (1, 2, 3, 1, 2, 3)]


@pytest.mark.parametrize("tokens", CASES)
def test_it_is_the_best_of_all_paths(tokens):
    log_probs = random_log_probs(6, 4, len(tokens))
    truth = best_of_all_paths(log_probs, tokens)
    for found in (
        align(log_probs, tokens),
        align_batch(
            log_probs[None],
            torch.tensor([6]),
            torch.tensor([tokens], dtype=torch.int64).reshape(1, -1),
            torch.tensor([len(tokens)]),
        )[0],
    ):
        if truth == -math.inf:
            assert found is None
            continue
        assert found is not None
        assert found.log_prob == pytest.approx(truth, abs=1e-9)
        path = path_of(found, 6)
        assert collapse(tuple(path)) == tokens == found.tokens
        chosen = log_probs[torch.arange(6), torch.tensor(path)].sum()
        assert float(chosen) == pytest.approx(truth, abs=1e-9)


def test_batches_agree_with_torchaudio_whatever_the_padding():
    draw = torch.Generator().manual_seed(1)
    lengths = torch.tensor([30, 7, 18, 25, 12])
    counts = torch.tensor([9, 3, 0, 12, 6])
    log_probs = torch.randn(5, 34, 8, generator=draw).log_softmax(-1)
    tokens = torch.randint(1, 8, (5, 14), generator=draw)
    found = align_batch(log_probs, lengths, tokens, counts)
    for row, alignment in enumerate(found):
        assert alignment is not None
        part = log_probs[row, : lengths[row]]
        wanted = tokens[row, : counts[row]]
        if not len(wanted):
            assert alignment.first_frames == ()
            assert alignment.log_prob == pytest.approx(float(part[:, 0].sum()), abs=1e-4)
            continue
        path, scores = torchaudio.functional.forced_align(part[None], wanted[None], blank=0)
        assert alignment.log_prob == pytest.approx(float(scores.sum()), abs=1e-4)
        assert path_of(alignment, len(part)) == path[0].tolist()
        alone = align(part, wanted.tolist())
        assert alone is not None
        assert alone.first_frames == alignment.first_frames


def test_what_cannot_be_aligned_is_none_and_the_others_go_on():
    log_probs = random_log_probs(6, 4, 0).expand(4, 6, 4).clone()
    log_probs[3, :, 2] = -math.inf
    tokens = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 1], [1, 2, 3, 0], [1, 2, 3, 0]])
    counts = torch.tensor([2, 4, 3, 3])
    lengths = torch.tensor([6, 6, 2, 6])
    found = align_batch(log_probs, lengths, tokens, counts)
    # Four equal tokens need three blanks between them; three tokens do not go into two frames.
    assert [alignment is None for alignment in found] == [False, True, True, True]
    assert align(log_probs[3], [1, 2, 3]) is None
    assert align(log_probs[0], [1, 1, 1, 1]) is None
    assert align(torch.empty(0, 4), [1]) is None


def test_a_greedy_hypothesis_stays_where_it_is():
    log_probs = random_log_probs(40, 5, 3)
    [hypothesis] = greedy_decode(log_probs[None], torch.tensor([40]))
    assert align_hypothesis(log_probs, hypothesis) == hypothesis
