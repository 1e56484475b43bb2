"""Gates computed again in the backward pass: the same gradients from less memory."""

import pytest
import torch
from gru_cases import both_forms, make, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.errors import ConfigError
from asr.gru import GRU
from asr.model import build_model


def results(gru: GRU, x: Tensor, lengths: Tensor | None, state: Tensor | None) -> list[Tensor]:
    """Output, final state and all gradients, the weights of the sum being fixed."""
    torch.manual_seed(1)
    inputs = [i.detach().requires_grad_() for i in (x, state) if i is not None]
    output, final = gru(inputs[0], lengths, inputs[1] if len(inputs) > 1 else None)
    total = (output * torch.randn_like(output)).sum() + (final * torch.randn_like(final)).sum()
    return [output, final, *torch.autograd.grad(total, [*inputs, *gru.parameters()])]


def pair(reset: str, frames: int, **options: object) -> tuple[GRU, GRU]:
    """The same GRU without and with segments."""
    plain, segmented = make(reset, **options), make(reset, checkpoint_frames=frames, **options)
    segmented.load_state_dict(plain.state_dict())
    return plain, segmented


@given(
    st.sampled_from(["before", "after"]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 9),
    st.lists(st.integers(0, 13), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_gradients_are_those_of_the_plain_path(
    reset: str,
    bidirectional: bool,
    bias: bool,
    frames: int,
    lengths: list[int],
    padded: bool,
    initial: bool,
) -> None:
    plain, segmented = pair(reset, frames, bidirectional=bidirectional, bias=bias)
    x = noise(len(lengths), max(lengths), 5)
    state = noise(2 * plain.directions, len(lengths), 6) if initial else None
    arguments = (x, torch.tensor(lengths) if padded else None, state)
    for found, expected in zip(
        results(segmented, *arguments), results(plain, *arguments), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@both_forms
def test_threads_and_float32_change_nothing_but_noise(reset: str) -> None:
    plain, segmented = pair(reset, 4, bidirectional=True)
    arguments = (torch.randn(3, 30, 5), torch.tensor([30, 7, 18]), None)
    expected = results(plain.float(), *arguments)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = results(segmented.float(), *arguments)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@both_forms
def test_under_autocast_gradients_are_as_near_as_the_plain_ones(reset: str) -> None:
    plain, segmented = pair(reset, 4, bidirectional=True)
    x = torch.randn(3, 30, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (results(g.float(), x, None, None) for g in (segmented, plain))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.01 * b.norm()


def saved_numbers(gru: GRU, x: Tensor) -> int:
    """Numbers kept for the backward pass, parameters left out."""
    sizes = {}

    def pack(t: Tensor) -> Tensor:
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes() // t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        kept = gru(x)
    del kept
    parameters = {p.untyped_storage().data_ptr() for p in gru.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in parameters)


@both_forms
@pytest.mark.parametrize("bidirectional", [False, True])
def test_input_and_states_at_the_borders_are_all_that_is_saved(
    reset: str, bidirectional: bool
) -> None:
    T, B, F, H = 40, 2, 5, 6
    gru = GRU(F, H, reset=reset, bidirectional=bidirectional, checkpoint_frames=10)
    assert saved_numbers(gru, torch.randn(B, T, F)) == T * B * F + 3 * B * H * gru.directions


def test_inference_and_the_names_of_parameters_do_not_change() -> None:
    plain, segmented = pair("after", 3, bidirectional=True)
    assert plain.state_dict().keys() == segmented.state_dict().keys()
    with torch.inference_mode():
        x = noise(2, 8, 5)
        assert torch.equal(segmented(x)[0], plain(x)[0])


def test_the_gradient_of_the_gradient_is_refused_in_a_sentence() -> None:
    x = torch.randn(1, 5, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(GRU(3, 4, checkpoint_frames=2)(x)[0].sum(), x, create_graph=True)


def test_a_segment_of_no_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="checkpoint_frames is 0"):
        GRU(3, 4, checkpoint_frames=0)


def test_a_model_takes_the_option_from_its_config() -> None:
    encoder = {"layers": 2, "width": 16, "channels": 4}
    config = {"features": {"n_mels": 8}, "encoder": encoder | {"checkpoint_frames": 50}}
    gru_layers = [m for m in build_model(config, 5).modules() if isinstance(m, GRU)]
    assert [gru.checkpoint_frames for gru in gru_layers] == [50, 50]
    with pytest.raises(ConfigError, match=r"encoder\.checkpoint_frames is 0"):
        build_model(config | {"encoder": {"checkpoint_frames": 0}}, 5)
