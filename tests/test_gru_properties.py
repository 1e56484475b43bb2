"""What must hold for a GRU of any size over any input: gates, bounds, chunks, padding."""

import pytest
import torch
from gru_cases import both_forms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.gru import GRU, gru_step

resets = st.sampled_from(["before", "after"])
states = st.lists(st.floats(-1, 1), min_size=4, max_size=4)
types = st.sampled_from([torch.float32, torch.float64])
seeds = st.integers(0, 2**31)
few = settings(max_examples=30, deadline=None)


def with_gates(reset: str, r: float | None, z: float, bidirectional: bool = False) -> GRU:
    """A GRU whose update gate, and reset gate if given, stand at 0 or 1."""
    gru = GRU(3, 4, reset=reset, bidirectional=bidirectional).double()
    p = gru.layers[0]
    with torch.no_grad():
        for gate, value in ((0, r), (1, z)):
            if value is None:
                continue
            rows = slice(4 * gate, 4 * gate + 4)
            p.weight_input[:, rows] = 0
            p.weight_recurrent[:, rows] = 0
            p.bias[:, rows] = 1000 * (2 * value - 1)
    return gru


@given(resets, st.booleans(), states, st.integers(1, 6))
@few
def test_a_closed_update_gate_keeps_the_state(
    reset: str, bidirectional: bool, h: list[float], steps: int
) -> None:
    gru = with_gates(reset, None, 0, bidirectional)
    state = torch.tensor(h, dtype=torch.float64).expand(gru.directions, 1, 4)
    output, final = gru(torch.randn(1, steps, 3).double(), None, state)
    assert torch.equal(final, state)
    assert torch.equal(output, state.flatten().expand(1, steps, -1))


@given(resets, st.booleans(), states, states)
@few
def test_an_open_update_and_a_closed_reset_gate_forget_the_state(
    reset: str, bidirectional: bool, g: list[float], h: list[float]
) -> None:
    gru, x = with_gates(reset, 0, 1, bidirectional), torch.randn(1, 3, 3).double()
    given_states = (torch.tensor(s).double().expand(gru.directions, 1, 4) for s in (g, h))
    one, other = (gru(x, None, state)[0] for state in given_states)
    assert torch.equal(one, other)


@given(resets, st.booleans(), states, st.floats(0, 1e3), types, seeds)
@few
def test_the_state_stays_within_one(
    reset: str, bidirectional: bool, h: list[float], scale: float, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    gru = GRU(3, 4, reset=reset, bidirectional=bidirectional).to(dtype)
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter *= 1 + scale / 10
    state = torch.tensor(h, dtype=dtype).expand(gru.directions, 1, 4)
    output, final = gru(scale * torch.randn(1, 8, 3, dtype=dtype), None, state)
    assert output.abs().max() <= 1
    assert final.abs().max() <= 1


@given(
    resets, types, st.integers(1, 4), st.integers(1, 5), st.integers(1, 5),
    st.lists(st.integers(0, 8), min_size=1, max_size=4), st.booleans(), seeds,
)  # fmt: skip
@few
def test_a_layer_is_the_equations_step_by_step(
    reset: str,
    dtype: torch.dtype,
    inputs: int,
    hidden: int,
    more_frames: int,
    lengths: list[int],
    bias: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    gru = GRU(inputs, hidden, reset=reset, bias=bias, bidirectional=True).to(dtype)
    x = torch.randn(len(lengths), max(lengths) + more_frames, inputs, dtype=dtype)
    state = torch.rand(2, len(lengths), hidden, dtype=dtype)
    output, final = gru(x, torch.tensor(lengths), state)
    p = gru.double().layers[0]
    expected, expected_final = torch.zeros_like(output).double(), state.double()
    for d in range(2):
        weight = torch.cat([p.weight_recurrent[d], p.weight_input[d]], dim=1)
        biases = [None if b is None else b[d] for b in (p.bias, p.bias_recurrent)]
        for b, length in enumerate(lengths):
            h = expected_final[d, b, None].clone()
            for t in reversed(range(length)) if d else range(length):
                step = x[b, t, None].double()
                h = gru_step(step, h, weight, biases[0], reset=reset, bias_recurrent=biases[1])
                expected[b, t, d * hidden : (d + 1) * hidden] = h[0]
            expected_final[d, b] = h[0]
    close = {"rtol": 0, "atol": 2e-6 if dtype == torch.float32 else 1e-13}
    torch.testing.assert_close(output.double(), expected, **close)
    torch.testing.assert_close(final.double(), expected_final, **close)


@given(resets, types, st.lists(st.integers(0, 5), min_size=1, max_size=5), seeds)
@few
def test_chunks_with_the_state_carried_are_the_whole(
    reset: str, dtype: torch.dtype, chunks: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    gru = GRU(3, 4, 2, reset=reset).to(dtype)
    x = torch.randn(2, sum(chunks), 3, dtype=dtype)
    whole, final = gru(x)
    state, parts = None, []
    for chunk in x.split(chunks, dim=1):
        part, state = gru(chunk, None, state)
        parts.append(part)
    close = {"rtol": 0, "atol": 1e-6 if dtype == torch.float32 else 1e-14}
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, **close)
    torch.testing.assert_close(state, final, **close)


def walked(gru: GRU, x: Tensor, weight: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """Output, final state, gradient of the input and those of the parameters."""
    x = x.clone().requires_grad_()
    output, final = gru(x, lengths)
    total = (output * weight).sum() + final.sum()
    return [output, final, *torch.autograd.grad(total, [x, *gru.parameters()])]


lists_of_lengths = st.lists(st.integers(0, 9), min_size=2, max_size=4)


@given(resets, types, st.booleans(), lists_of_lengths, st.integers(0, 3), seeds)
@few
def test_what_stands_beyond_the_lengths_changes_no_bit(
    reset: str,
    dtype: torch.dtype,
    bidirectional: bool,
    lengths: list[int],
    more_frames: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    gru = GRU(3, 4, 2, reset=reset, bidirectional=bidirectional).to(dtype)
    T = max(lengths) + more_frames
    x = torch.randn(len(lengths), T, 3, dtype=dtype)
    weight = torch.randn(len(lengths), T, 4 * gru.directions, dtype=dtype)
    clean = walked(gru, x, weight, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        x[b, length:] = float("nan")
        weight[b, length:] = 1e9
        assert not clean[0][b, length:].any()
        assert not clean[2][b, length:].any()
    for found, expected in zip(walked(gru, x, weight, torch.tensor(lengths)), clean, strict=True):
        assert torch.equal(found, expected)


@given(resets, types, st.booleans(), lists_of_lengths, st.integers(0, 3), seeds)
@few
def test_a_padded_batch_is_each_sequence_alone_but_for_noise(
    reset: str,
    dtype: torch.dtype,
    bidirectional: bool,
    lengths: list[int],
    more_frames: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    gru = GRU(3, 4, 2, reset=reset, bidirectional=bidirectional).to(dtype)
    T = max(lengths) + more_frames
    x = torch.randn(len(lengths), T, 3, dtype=dtype)
    weight = torch.randn(len(lengths), T, 4 * gru.directions, dtype=dtype)
    output, final, grad, *gradients = walked(gru, x, weight, torch.tensor(lengths))
    sums = [torch.zeros_like(p) for p in gru.parameters()]
    noise = 1e-6 if dtype == torch.float32 else 1e-14
    for b, length in enumerate(lengths):
        part = (slice(b, b + 1), slice(length))
        alone = walked(gru, x[part], weight[part])
        together = [output[part], final[:, b : b + 1], grad[part]]
        torch.testing.assert_close(together, alone[:3], rtol=0, atol=noise)
        for total, value in zip(sums, alone[3:], strict=True):
            total += value
    torch.testing.assert_close(gradients, sums, rtol=10 * noise, atol=10 * noise)


@both_forms
@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_frames_give_the_initial_state_and_its_gradient(reset: str, bidirectional: bool) -> None:
    gru = GRU(3, 4, reset=reset, bidirectional=bidirectional)
    state = torch.randn(gru.directions, 2, 4, requires_grad=True)
    output, final = gru(torch.randn(2, 0, 3), None, state)
    assert output.shape == (2, 0, 4 * gru.directions)
    assert torch.equal(final, state)
    assert torch.equal(torch.autograd.grad(final.sum(), state)[0], torch.ones_like(state))
