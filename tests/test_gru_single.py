"""One sequence on the CPU without a gradient: NumPy's steps against the equations in float64."""

import warnings

import pytest
import torch
from gru_cases import both_forms
from torch import Tensor

from asr.gru import GRU, gru_step
from asr.gru.backend import choose_backend, force_backend


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def by_equations(gru: GRU, x: Tensor, frames: int, states: Tensor) -> tuple[Tensor, Tensor]:
    """Run all layers over the first frames of ``x`` (T, F) step by step in float64."""
    finals = []
    for i, layer in enumerate(gru.layers):
        outputs = []
        for d in range(gru.directions):
            p = {name: value[d].double() for name, value in layer.named_parameters()}
            weight = torch.cat([p["weight_recurrent"], p["weight_input"]], dim=1)
            h = states[i * gru.directions + d].double()
            output = x.new_zeros(len(x), gru.hidden_size, dtype=torch.float64)
            for t in range(frames - 1, -1, -1) if d else range(frames):
                h = gru_step(
                    x[t : t + 1].double(),
                    h,
                    weight,
                    p.get("bias"),
                    reset=gru.reset,
                    bias_recurrent=p.get("bias_recurrent"),
                )
                output[t] = h[0]
            outputs.append(output)
            finals.append(h)
        x = torch.cat(outputs, dim=1)
    return x, torch.stack(finals)


@both_forms
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("frames", [None, 9, 4, 1, 0])
def test_it_is_the_equations(
    reset: str, bias: bool, bidirectional: bool, given: bool, frames: int | None
) -> None:
    gru = GRU(5, 6, 2, reset=reset, bias=bias, bidirectional=bidirectional)
    x, states = torch.randn(1, 9, 5), torch.zeros(2 * gru.directions, 1, 6)
    if given:
        states = torch.rand(2 * gru.directions, 1, 6) * 2 - 1
    stop = 9 if frames is None else frames
    x[:, stop:] = float("nan")
    with torch.inference_mode():
        lengths = None if frames is None else torch.tensor([frames])
        output, final = gru(x, lengths, states if given else None)
        expected, expected_final = by_equations(gru, x[0], stop, states)
    torch.testing.assert_close(output[0].double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(final.double(), expected_final, rtol=0, atol=1e-6)


@both_forms
def test_a_sequence_in_a_batch_is_the_sequence_alone(reset: str) -> None:
    gru = GRU(5, 64, 2, reset=reset, bidirectional=True)
    x, lengths = torch.randn(3, 40, 5), torch.tensor([40, 17, 1])
    with torch.no_grad():
        together, _ = gru(x, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone, _ = gru(x[row : row + 1, :length])
            torch.testing.assert_close(alone[0], together[row, :length], rtol=0, atol=1e-6)


@both_forms
def test_saturated_gates_are_exact_and_warn_of_nothing(reset: str) -> None:
    gru = GRU(1, 2, reset=reset)
    layer = gru.layers[0]
    state = torch.tensor([[[0.25, -0.5]]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.bias[:, 2:4] = -1e4
        assert torch.equal(gru(torch.randn(1, 5, 1), None, state)[1], state)
        layer.bias[:, 2:4] = 1e4
        layer.bias[:, 4:] = 1e4
        assert torch.equal(gru(torch.randn(1, 5, 1), None, state)[1], torch.ones(1, 1, 2))


def test_when_it_is_chosen() -> None:
    one, two = torch.randn(4, 1, 3), torch.randn(4, 2, 3)
    single, double = torch.float32, torch.float64
    for after in (True, False):
        assert choose_backend(one, after, single, single) == "torch"
        with torch.no_grad():
            assert choose_backend(one, after, single, single) == "numpy"
            assert choose_backend(two, after, single, single) == "torch"
            assert choose_backend(one, after, single, torch.bfloat16) == "torch"
            assert choose_backend(one.double(), after, double, double) == "torch"
            with force_backend("torch"):
                assert choose_backend(one, after, single, single) == "torch"
