"""CTC loss and feasibility against the enumeration of every path, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch

from asr.ctc import ctc_loss, guided_ctc_loss, required_frames
from asr.decoding import greedy_decode

V = 3
TRANSCRIPTS = [(), (1,), (2,), (1, 2), (1, 1), (2, 1, 2), (1, 1, 2), (2, 2, 2), (1, 2, 1, 2)]


def collapse(path):
    """Equation 4 of Graves et al. 2006: drop repetitions, then blanks."""
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def enumerated_probability(log_probs, transcript):
    """Sum the probability of every path that collapses to the transcript; (U, V) in float64."""
    return math.fsum(
        math.exp(math.fsum(log_probs[frame, token] for frame, token in enumerate(path)))
        for path in itertools.product(range(V), repeat=len(log_probs))
        if collapse(path) == transcript
    )


def random_log_probs(frames, seed):
    logits = 2 * np.random.default_rng(seed).standard_normal((frames, V))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def loss_of(log_probs, frames, transcripts):
    tokens = torch.zeros(len(transcripts), max(map(len, transcripts)), dtype=torch.int64)
    for row, transcript in enumerate(transcripts):
        tokens[row, : len(transcript)] = torch.tensor(transcript)
    token_lengths = torch.tensor([len(transcript) for transcript in transcripts])
    return ctc_loss(log_probs, torch.tensor(frames), tokens, token_lengths)


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_loss_and_feasibility_are_those_of_all_paths(frames, transcript):
    log_probs = random_log_probs(frames, seed=frames)
    probability = enumerated_probability(log_probs, transcript)
    result = loss_of(torch.from_numpy(log_probs)[None], [frames], [transcript])
    assert result.losses.dtype == torch.float32
    assert result.feasible.tolist() == [probability > 0]
    expected = -math.log(probability) if probability else 0.0
    assert result.losses.item() == pytest.approx(expected, abs=1e-5)


def test_losses_in_a_padded_batch_are_those_of_all_paths():
    frames = [5, 4, 3, 5, 2]
    transcripts = [(1, 2), (), (1, 1), (2, 1, 2), (2, 2)]
    batch = torch.full((5, 5, V), float("nan"))
    expected = []
    for row, (count, transcript) in enumerate(zip(frames, transcripts, strict=True)):
        log_probs = random_log_probs(count, seed=row)
        batch[row, :count] = torch.from_numpy(log_probs)
        probability = enumerated_probability(log_probs, transcript)
        expected.append(-math.log(probability) if probability else 0.0)
    result = loss_of(batch, frames, transcripts)
    assert result.losses.tolist() == pytest.approx(expected, abs=1e-5)
    assert result.feasible.tolist() == [True, True, True, True, False]


def test_the_gradient_is_that_of_finite_differences():
    logits = np.random.default_rng(7).standard_normal((4, V))
    transcript = (1, 1)

    def loss(values):
        normalized = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        return -math.log(enumerated_probability(normalized, transcript))

    leaf = torch.from_numpy(logits).requires_grad_()
    loss_of(leaf.log_softmax(-1)[None], [4], [transcript]).losses.sum().backward()
    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-4
        slope = (loss(logits + step) - loss(logits - step)) / 2e-4
        assert leaf.grad[place].item() == pytest.approx(slope, abs=1e-5)


def test_guided_losses_and_their_occupancies_are_those_of_all_paths():
    draw = np.random.default_rng(3)
    frames, transcripts = [5, 4, 2], [(1, 2), (1, 1), (2, 2)]
    logits = draw.standard_normal((3, 5, V))
    offsets = -3 * draw.random((3, 5, V))
    tokens = torch.tensor(transcripts)

    def weighed(row, values):
        """Sum of the paths' weights, and what of it passes through each frame and token."""
        normalized = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        scores = normalized + offsets[row, : len(values)]
        through = np.zeros_like(scores)
        for path in itertools.product(range(V), repeat=len(scores)):
            if collapse(path) == transcripts[row]:
                weight = math.exp(sum(scores[frame, token] for frame, token in enumerate(path)))
                through[range(len(path)), path] += weight
        return through[0].sum(), through

    leaf = torch.from_numpy(logits).requires_grad_()
    result, occupancy = guided_ctc_loss(
        leaf.log_softmax(-1),
        torch.tensor(frames),
        tokens,
        torch.tensor([2, 2, 2]),
        torch.from_numpy(offsets).float(),
    )
    result.losses.sum().backward()
    assert result.feasible.tolist() == [True, True, False]
    assert result.losses[2] == 0
    assert leaf.grad[2].eq(0).all() and occupancy[2].eq(0).all()
    for row in (0, 1):
        values = logits[row, : frames[row]]
        total, through = weighed(row, values)
        assert result.losses[row].item() == pytest.approx(-math.log(total), abs=1e-5)
        np.testing.assert_allclose(occupancy[row, : frames[row]], through / total, atol=1e-5)
        assert occupancy[row, frames[row] :].eq(0).all()
        for place in np.ndindex(*values.shape):
            step = np.zeros_like(values)
            step[place] = 1e-4
            up, down = (math.log(weighed(row, values + sign * step)[0]) for sign in (1, -1))
            assert leaf.grad[row][place].item() == pytest.approx((down - up) / 2e-4, abs=1e-5)


def test_what_cannot_be_aligned_has_no_loss_and_no_gradient():
    leaf = torch.randn(3, 4, V, requires_grad=True)
    result = loss_of(leaf.log_softmax(-1), [4, 2, 0], [(1, 2), (1, 1), (1,)])
    result.losses.sum().backward()
    assert result.feasible.tolist() == [True, False, False]
    assert result.losses[1:].tolist() == [0, 0]
    assert leaf.grad[1:].eq(0).all()
    assert leaf.grad[0].ne(0).any()


def test_no_frames_and_no_tokens_are_certain():
    result = loss_of(torch.zeros(1, 1, V), [0], [()])
    assert result.feasible.tolist() == [True]
    assert result.losses.tolist() == [0]


def test_an_alignment_needs_a_frame_a_token_and_one_between_equal_neighbours():
    for transcript in itertools.chain(*(itertools.product((1, 2), repeat=n) for n in range(5))):
        # The shortest path to the transcript, by trying.
        shortest = next(
            frames
            for frames in range(10)
            if any(
                collapse(path) == transcript for path in itertools.product(range(V), repeat=frames)
            )
        )
        # What stands in the padding does not count.
        tokens = torch.tensor([[*transcript, 1, 1, 1]])
        needed = required_frames(tokens, torch.tensor([len(transcript)]))
        assert needed.tolist() == [shortest]
        assert needed.dtype == torch.int64


def test_the_loss_is_float32_under_autocast():
    log_probs = torch.from_numpy(random_log_probs(5, seed=1))[None].float()
    expected = loss_of(log_probs, [5], [(1, 2)]).losses
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(log_probs, [5], [(1, 2)]).losses
    assert found.equal(expected)


def test_greedy_decoding_collapses_the_best_path():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(50, 12, V, generator=generator).log_softmax(-1)
    lengths = torch.randint(0, 13, (50,), generator=generator)
    hypotheses = greedy_decode(log_probs, lengths)
    for row, hypothesis in enumerate(hypotheses):
        scores = log_probs[row, : int(lengths[row])].double().numpy()
        path = scores.argmax(axis=1).tolist()
        assert hypothesis.tokens == collapse(path)
        assert hypothesis.log_prob == pytest.approx(scores.max(axis=1, initial=-99).sum())
        assert tuple(path[frame] for frame in hypothesis.frames) == hypothesis.tokens
        assert all(frame == 0 or path[frame - 1] != path[frame] for frame in hypothesis.frames)
