"""How the GRU module is used: precision, inference, export, threads, options, refusals."""

import pytest
import torch
from gru_cases import both_forms, make, noise
from torch import Tensor

from asr.errors import ConfigError
from asr.gru import GRU


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@both_forms
def test_autocast_computes_products_in_bfloat16_and_keeps_the_state_in_float32(reset: str) -> None:
    gru = GRU(16, 32, 2, reset=reset, bidirectional=True)
    x = torch.randn(3, 20, 16)
    exact = torch.autograd.grad(gru(x)[0].square().sum(), list(gru.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        output, final = gru(x)
    assert output.dtype == final.dtype == torch.float32
    torch.testing.assert_close(output, gru(x)[0], rtol=0, atol=0.02)
    assert not torch.equal(output, gru(x)[0])
    found = torch.autograd.grad(output.square().sum(), list(gru.parameters()))
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


@both_forms
def test_inference_mode_gives_what_training_gives(reset: str) -> None:
    gru = GRU(5, 6, 2, reset=reset, bidirectional=True)
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 3, 1])
    with torch.inference_mode():
        output, _ = gru(x, lengths)
    assert output.is_inference()
    assert torch.equal(output, gru(x, lengths)[0])


def test_threads_change_nothing_and_are_put_back() -> None:
    gru = make("before", bidirectional=True)
    x = noise(2, 6, 5)
    before = torch.get_num_threads()
    try:
        outputs = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            outputs.append(gru(x)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for output in outputs:
        torch.testing.assert_close(output, outputs[0], rtol=0, atol=1e-14)


def test_dropout_acts_between_layers_and_only_in_training() -> None:
    plain, dropping = make("after"), make("after", dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    x = noise(2, 6, 5)
    assert not torch.allclose(dropping(x)[0], plain(x)[0])
    assert torch.equal(dropping.eval()(x)[0], plain(x)[0])


def test_options_of_the_start() -> None:
    gru = GRU(5, 6, orthogonal=True, update_bias=-1.5, bidirectional=True)
    p = gru.layers[0]
    for gate in p.weight_recurrent.detach().view(-1, 6, 6):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-6)
    assert (p.bias[:, 6:12] == -1.5).all()


def test_names_of_the_state_dict_are_fixed() -> None:
    shapes = {name: tuple(value.shape) for name, value in GRU(5, 6).state_dict().items()}
    assert shapes == {
        "layers.0.weight_input": (1, 18, 5),
        "layers.0.weight_recurrent": (1, 18, 6),
        "layers.0.bias": (1, 18),
        "layers.0.bias_recurrent": (1, 6),
    }


@both_forms
def test_the_backward_pass_saves_gates_states_and_input_only(reset: str) -> None:
    T, B, F, H = 10, 2, 5, 6
    gru, x = GRU(F, H, reset=reset), torch.randn(B, T, F)
    sizes: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes() // 4
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        gru(x)
    parameters = sum(p.numel() for p in gru.parameters())
    gates = 4 if reset == "after" else 3
    assert sum(sizes.values()) == parameters + T * B * (F + gates * H) + (T + 2) * B * H


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"reset": "never"}, "never"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_layers": 0}, "num_layers"),
        ({"update_bias": 1.0, "bias": False}, "update_bias"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        GRU(3, 4, **options)


def test_misfit_inputs_are_refused() -> None:
    gru, x = GRU(3, 4), torch.randn(2, 5, 3)
    for wrong in (
        (torch.randn(2, 5, 4),),
        (x, torch.tensor([5, 6])),
        (x, torch.tensor([5, -1])),
        (x, torch.tensor([1.0, 0.5])),
        (x, None, torch.zeros(2, 2, 4)),
    ):
        with pytest.raises(ValueError, match="expected"):
            gru(*wrong)
