"""The GRU module against the equations and torch.nn.GRU, forward and backward."""

import numpy as np
import pytest
import torch
from gru_cases import both_forms, make, noise
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.gru import GRU, gru_step

one_or_two_directions = pytest.mark.parametrize("bidirectional", [False, True])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def walk(gru: GRU, layer: int, d: int, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One direction of a layer over one sequence (T, F) by gru_step alone."""
    p = gru.layers[layer]
    weight = torch.cat([p.weight_recurrent[d], p.weight_input[d]], dim=1)
    bias = None if p.bias is None else p.bias[d]
    bias_recurrent = None if p.bias_recurrent is None else p.bias_recurrent[d]
    rows = list(x.new_zeros(len(x), gru.hidden_size))
    for t in reversed(range(len(x))) if d else range(len(x)):
        h = gru_step(x[t, None], h, weight, bias, reset=gru.reset, bias_recurrent=bias_recurrent)
        rows[t] = h[0]
    return torch.stack(rows) if rows else x.new_zeros(0, gru.hidden_size), h


def by_steps(gru: GRU, x: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The whole module by gru_step, each sequence alone."""
    D, outputs, finals = gru.directions, [], []
    for b, length in enumerate(lengths.tolist()):
        y, final = x[b, :length], []
        for layer in range(gru.num_layers):
            sides = [walk(gru, layer, d, y, state[layer * D + d, b, None]) for d in range(D)]
            y = torch.cat([side[0] for side in sides], dim=1)
            final += [side[1][0] for side in sides]
        outputs.append(nn.functional.pad(y, (0, 0, 0, x.shape[1] - length)))
        finals.append(torch.stack(final))
    return torch.stack(outputs), torch.stack(finals, dim=1)


@both_forms
@one_or_two_directions
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lengths", [[1], [7], [7, 3, 0, 1]])
def test_outputs_states_and_gradients_are_those_of_the_equations(
    reset: str, bidirectional: bool, bias: bool, lengths: list[int]
) -> None:
    gru = make(reset, bias=bias, bidirectional=bidirectional)
    x = noise(len(lengths), max(lengths), 5).requires_grad_()
    state = noise(2 * gru.directions, len(lengths), 6).requires_grad_()
    sizes = torch.tensor(lengths)
    output, final = gru(x, sizes, state)
    expected_output, expected_final = by_steps(gru, x, sizes, state)
    torch.testing.assert_close(output, expected_output, rtol=0, atol=1e-13)
    torch.testing.assert_close(final, expected_final, rtol=0, atol=1e-13)
    u, v = noise(*output.shape), noise(*final.shape)
    wanted = [x, state, *gru.parameters()]
    ours = torch.autograd.grad((output * u).sum() + (final * v).sum(), wanted)
    theirs = torch.autograd.grad((expected_output * u).sum() + (expected_final * v).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@both_forms
def test_float32_agrees_with_float64(reset: str) -> None:
    exact = GRU(40, 64, 2, reset=reset, bidirectional=True).double()
    x = noise(4, 50, 40)
    rounded = GRU(40, 64, 2, reset=reset, bidirectional=True)
    rounded.load_state_dict(exact.state_dict())
    torch.testing.assert_close(rounded(x.float())[0].double(), exact(x)[0], rtol=0, atol=2e-6)


@both_forms
def test_a_step_is_the_equations_in_numpy(reset: str) -> None:
    x, h, W, b, b_u = (noise(*s).numpy() for s in ((3, 4), (3, 2), (6, 6), (6,), (2,)))

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    hx = np.concatenate([h, x], axis=1)
    r, z = sigmoid(hx @ W[:2].T + b[:2]), sigmoid(hx @ W[2:4].T + b[2:4])
    if reset == "before":
        candidate = np.tanh(np.concatenate([r * h, x], axis=1) @ W[4:].T + b[4:])
    else:
        candidate = np.tanh(r * (h @ W[4:, :2].T + b_u) + x @ W[4:, 2:].T + b[4:])
    expected = (1 - z) * h + z * candidate
    found = gru_step(
        *(torch.from_numpy(a) for a in (x, h, W, b)),
        reset=reset,
        bias_recurrent=torch.from_numpy(b_u) if reset == "after" else None,
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-15)


@one_or_two_directions
@pytest.mark.parametrize("bias", [False, True])
def test_after_is_torch_gru_in_outputs_and_gradients(bidirectional: bool, bias: bool) -> None:
    theirs = nn.GRU(5, 6, 2, bias=bias, bidirectional=bidirectional, batch_first=True).double()
    ours = GRU.from_torch(theirs)
    x = noise(3, 8, 5).requires_grad_()
    weight = noise(3, 8, 6 * ours.directions)
    a, b = ours(x), theirs(x)
    for found, expected in zip(a, b, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    (grad_ours,) = torch.autograd.grad((a[0] * weight).sum(), x, retain_graph=True)
    (grad_theirs,) = torch.autograd.grad((b[0] * weight).sum(), x, retain_graph=True)
    torch.testing.assert_close(grad_ours, grad_theirs, rtol=0, atol=1e-12)
    (a[0] * weight).sum().backward()
    (b[0] * weight).sum().backward()
    for layer, p in enumerate(ours.layers):
        for d in range(ours.directions):
            suffix = f"l{layer}{'_reverse' if d else ''}"
            sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).repeat_interleave(6)
            for name, grad in (("ih", p.weight_input.grad), ("hh", p.weight_recurrent.grad)):
                expected = getattr(theirs, f"weight_{name}_{suffix}").grad
                torch.testing.assert_close(grad[d] * sign[:, None], expected, rtol=0, atol=1e-12)
            if bias:
                expected = getattr(theirs, f"bias_ih_{suffix}").grad
                torch.testing.assert_close(p.bias.grad[d] * sign, expected, rtol=0, atol=1e-12)
                expected = getattr(theirs, f"bias_hh_{suffix}").grad[12:]
                torch.testing.assert_close(p.bias_recurrent.grad[d], expected, rtol=0, atol=1e-12)


def test_conversion_to_torch_and_back_keeps_the_function() -> None:
    gru = make("after", bidirectional=True)
    theirs = gru.to_torch()
    x = noise(2, 4, 5)
    torch.testing.assert_close(theirs(x)[0], gru(x)[0], rtol=0, atol=1e-13)
    back = GRU.from_torch(theirs)
    for name, value in gru.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, rtol=0, atol=1e-15)


def test_the_before_form_has_no_torch_twin() -> None:
    with pytest.raises(ConfigError, match="before"):
        make("before").to_torch()


@both_forms
@one_or_two_directions
def test_gradcheck(reset: str, bidirectional: bool) -> None:
    gru = GRU(2, 3, reset=reset, bidirectional=bidirectional).double()
    names = [name for name, _ in gru.named_parameters()]
    lengths = torch.tensor([4, 2])

    def run(x: Tensor, state: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(gru, named, (x, lengths, state))

    inputs = [noise(2, 4, 2), noise(gru.directions, 2, 3), *gru.parameters()]
    assert torch.autograd.gradcheck(run, [i.detach().requires_grad_() for i in inputs])


@both_forms
@one_or_two_directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_padded_batch_is_each_sequence_alone(
    reset: str, bidirectional: bool, dtype: torch.dtype
) -> None:
    gru = GRU(8, 16, 2, reset=reset, bidirectional=bidirectional).to(dtype)
    lengths = torch.tensor([9, 4, 6])
    x = torch.randn(3, 9, 8, dtype=dtype)
    weight = torch.randn(3, 9, 16 * gru.directions, dtype=dtype)
    for b, length in enumerate(lengths.tolist()):
        x[b, length:] = float("nan")
    together = x.clone().requires_grad_()
    output, final = gru(together, lengths)
    (output * weight).sum().backward()
    gradients = [p.grad.clone() for p in gru.parameters()]
    gru.zero_grad()
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    for b, length in enumerate(lengths.tolist()):
        alone = x[b : b + 1, :length].clone().requires_grad_()
        output_alone, final_alone = gru(alone)
        (output_alone * weight[b : b + 1, :length]).sum().backward()
        close = {"rtol": 0, "atol": tolerance}
        torch.testing.assert_close(output[b, :length], output_alone[0], **close)
        assert not output[b, length:].any()
        torch.testing.assert_close(final[:, b], final_alone[:, 0], **close)
        torch.testing.assert_close(together.grad[b, :length], alone.grad[0], **close)
        assert not together.grad[b, length:].any()
    for found, p in zip(gradients, gru.parameters(), strict=True):
        torch.testing.assert_close(found, p.grad, rtol=1e-5, atol=10 * tolerance)


def test_the_gradient_of_the_gradient_is_refused_in_a_sentence() -> None:
    x = torch.randn(1, 2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(GRU(3, 4)(x)[0].sum(), x, create_graph=True)
