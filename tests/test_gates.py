"""The gates that are shown are those of the equations, one step after the other."""

import pytest
import torch
from gru_cases import both_forms, noise
from torch import Tensor

from asr.gru import gru_step
from asr.gru.gates import Gates, gru_gates
from asr.gru.parameters import GRULayer

FEATURES, UNITS, FRAMES = 5, 6, 7
LENGTHS = torch.tensor([7, 4, 0])


def make_layer(reset: str, bias: bool = True) -> GRULayer:
    layer = GRULayer(FEATURES, UNITS, 2, reset, bias).double()
    layer.reset_parameters(orthogonal=False, update_bias=None)
    return layer


def run(layer: GRULayer, x: Tensor, state: Tensor | None, padding: Tensor | None):
    return gru_gates(layer, x, layer(x, state, padding)[0], state, padding)


def weights(layer: GRULayer, d: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Put one direction's parameters as `gru_step` takes them."""
    weight = torch.cat([layer.weight_recurrent[d], layer.weight_input[d]], dim=1)
    bias = None if layer.bias is None else layer.bias[d]
    return weight, bias, None if layer.bias_recurrent is None else layer.bias_recurrent[d]


def by_hand(layer: GRULayer, d: int, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """Walk over the frames (T, F) of one sequence with `gru_step`; give z, r, h' and h."""
    weight, bias, bias_recurrent = weights(layer, d)
    W_r, W_z, W = weight.chunk(3)
    b_r, b_z, b = (weight.new_zeros(3 * UNITS) if bias is None else bias).chunk(3)
    b_u = weight.new_zeros(UNITS) if bias_recurrent is None else bias_recurrent
    rows: list[tuple[Tensor, ...]] = []
    for t in reversed(range(len(x))) if d else range(len(x)):
        hx = torch.cat([h, x[t]])
        r, z = torch.sigmoid(W_r @ hx + b_r), torch.sigmoid(W_z @ hx + b_z)
        if layer.reset == "before":
            candidate = torch.tanh(W @ torch.cat([r * h, x[t]]) + b)
        else:
            U, V = W[:, :UNITS], W[:, UNITS:]
            candidate = torch.tanh(r * (U @ h + b_u) + V @ x[t] + b)
        h = gru_step(
            x[t : t + 1],
            h.unsqueeze(0),
            weight,
            bias,
            reset=layer.reset,
            bias_recurrent=bias_recurrent,
        )[0]
        rows.append((z, r, candidate, h))
    rows = rows[::-1] if d else rows
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def parts(gates: Gates) -> tuple[Tensor, ...]:
    return gates.update, gates.reset, gates.candidate, gates.state


@both_forms
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("initial", [True, False])
def test_gates_of_every_sequence_are_those_of_the_equations(reset, bias, initial):
    torch.manual_seed(1)
    layer = make_layer(reset, bias)
    x = noise(FRAMES, len(LENGTHS), FEATURES)
    state = noise(2, len(LENGTHS), UNITS).tanh() if initial else None
    padding = (torch.arange(FRAMES)[:, None] >= LENGTHS).unsqueeze(2)
    found = run(layer, x.masked_fill(padding, 0), state, padding)
    for d, gates in enumerate(found):
        for b, length in enumerate(LENGTHS.tolist()):
            if not length:
                continue
            start = x.new_zeros(UNITS) if state is None else state[d, b]
            expected = by_hand(layer, d, x[:length, b], start)
            for ours, theirs in zip(parts(gates), expected, strict=True):
                torch.testing.assert_close(ours[:length, b], theirs, rtol=0, atol=1e-12)


@both_forms
def test_gates_explain_the_state_that_the_layer_returned(reset):
    torch.manual_seed(2)
    layer = make_layer(reset)
    x = noise(FRAMES, 2, FEATURES)
    output, _ = layer(x, None, None)
    for d, gates in enumerate(gru_gates(layer, x, output)):
        states = output.chunk(2, dim=2)[d]
        zero = torch.zeros_like(states[:1])
        before = torch.cat([states[1:], zero]) if d else torch.cat([zero, states[:-1]])
        mixed = (1 - gates.update) * before + gates.update * gates.candidate
        torch.testing.assert_close(mixed, states, rtol=0, atol=1e-12)
        assert torch.equal(gates.state, states)


@both_forms
def test_gates_beyond_the_lengths_are_zero(reset):
    layer = make_layer(reset)
    padding = (torch.arange(FRAMES)[:, None] >= LENGTHS).unsqueeze(2)
    x = noise(FRAMES, len(LENGTHS), FEATURES).masked_fill(padding, 0)
    for gates in run(layer, x, None, padding):
        for values in parts(gates):
            assert not values[padding.expand_as(values)].any()


@both_forms
def test_no_gradient_is_kept_for_a_look(reset):
    layer = make_layer(reset)
    for gates in run(layer, noise(FRAMES, 1, FEATURES), None, None):
        assert not any(values.requires_grad for values in parts(gates)[:3])
