"""The GRU's weights in the layouts of Keras and of ONNX, against their equations and runtime."""

from typing import Any

import numpy as np
import pytest
import torch
from gru_cases import both_forms, make, noise
from numpy.typing import NDArray

from asr.gru import GRU

Array = NDArray[Any]

one_or_two_directions = pytest.mark.parametrize("bidirectional", [False, True])
with_or_without_biases = pytest.mark.parametrize("bias", [False, True])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def keras_direction(x: Array, weights: list[Array], reset_after: bool) -> Array:
    """The equations of keras.layers.GRU, as its documentation and source state them."""
    kernel, recurrent = weights[:2]
    H = len(recurrent)
    bias = weights[2] if len(weights) == 3 else np.zeros((2, 3 * H) if reset_after else 3 * H)
    h, outputs = np.zeros((len(x), H)), []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(x[:, t] @ kernel + (bias[0] if reset_after else bias), 3, axis=1)
        if reset_after:
            h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3, axis=1)
            z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
            candidate = np.tanh(x_h + r * h_h)
        else:
            z = sigmoid(x_z + h @ recurrent[:, :H])
            r = sigmoid(x_r + h @ recurrent[:, H : 2 * H])
            candidate = np.tanh(x_h + (r * h) @ recurrent[:, 2 * H :])
        h = z * h + (1 - z) * candidate
        outputs.append(h)
    return np.stack(outputs, axis=1)


def keras(x: Array, layers: list[list[Array]], bidirectional: bool, reset_after: bool) -> Array:
    """A stack of keras.layers.GRU(return_sequences=True), or Bidirectional ones."""
    for weights in layers:
        if bidirectional:
            half = len(weights) // 2
            forward = keras_direction(x, weights[:half], reset_after)
            backward = keras_direction(x[:, ::-1], weights[half:], reset_after)[:, ::-1]
            x = np.concatenate([forward, backward], axis=2)
        else:
            x = keras_direction(x, weights, reset_after)
    return x


def keras_layers(bidirectional: bool, reset_after: bool, bias: bool) -> list[list[Array]]:
    """What get_weights() gives: two layers of 6 units over 5 features, every value random."""
    layers = []
    for inputs in (5, 12 if bidirectional else 6):
        shapes = [(inputs, 18), (6, 18)] + [(2, 18) if reset_after else (18,)] * bias
        layers.append([noise(*s).numpy() for s in shapes * (2 if bidirectional else 1)])
    return layers


@one_or_two_directions
@with_or_without_biases
@pytest.mark.parametrize("reset_after", [False, True])
def test_weights_from_keras_compute_what_keras_documents(
    bidirectional: bool, reset_after: bool, bias: bool
) -> None:
    layers = keras_layers(bidirectional, reset_after, bias)
    gru = GRU.from_keras(layers, reset_after=reset_after)
    x = noise(3, 7, 5)
    expected = keras(x.numpy(), layers, bidirectional, reset_after)
    np.testing.assert_allclose(gru(x)[0].detach().numpy(), expected, rtol=0, atol=1e-13)


@both_forms
@one_or_two_directions
@with_or_without_biases
def test_weights_to_keras_compute_the_same_and_come_back(
    reset: str, bidirectional: bool, bias: bool
) -> None:
    gru = make(reset, bias=bias, bidirectional=bidirectional)
    layers, after = gru.to_keras(), reset == "after"
    shapes = [array.shape for array in keras_layers(bidirectional, after, bias)[1]]
    assert [array.shape for array in layers[1]] == shapes
    x = noise(3, 7, 5)
    expected = keras(x.numpy(), layers, bidirectional, after)
    np.testing.assert_allclose(gru(x)[0].detach().numpy(), expected, rtol=0, atol=1e-13)
    assert_same_parameters(GRU.from_keras(layers, reset_after=after), gru)


def assert_same_parameters(found: GRU, expected: GRU) -> None:
    assert found.reset == expected.reset
    parameters = expected.state_dict()
    assert found.state_dict().keys() == parameters.keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, parameters[name])


def test_misfit_arrays_of_keras_are_refused() -> None:
    (layer,) = keras_layers(False, True, True)[:1]
    with pytest.raises(ValueError, match="reset_after=True"):
        GRU.from_keras([layer], reset_after=False)
    with pytest.raises(ValueError, match="there are 1 arrays"):
        GRU.from_keras([layer[:1]])
    with pytest.raises(ValueError, match="layer 1 has"):
        GRU.from_keras([layer, layer])
    with pytest.raises(ValueError, match="shapes"):
        GRU.from_keras([[layer[0], layer[1][:4], layer[2]]])


def runtime_gru(
    inputs: dict[str, Array], hidden_size: int, directions: int, linear_before_reset: bool
) -> list[Array]:
    """ONNX Runtime's GRU operator on named inputs: Y (T, D, B, H) and Y_h (D, B, H)."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    node = onnx.helper.make_node(
        "GRU",
        [n if n in inputs else "" for n in ("X", "W", "R", "B", "sequence_lens", "initial_h")],
        ["Y", "Y_h"],
        hidden_size=hidden_size,
        direction=["forward", "bidirectional"][directions - 1],
        linear_before_reset=int(linear_before_reset),
    )
    value, real = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    types = {n: onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in inputs.items()}
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [value(n, types[n], array.shape) for n, array in inputs.items()],
        [value(n, real, None) for n in ("Y", "Y_h")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    found: list[Array] = runtime.InferenceSession(model.SerializeToString()).run(None, inputs)
    return found


@both_forms
@one_or_two_directions
@with_or_without_biases
def test_onnx_runtime_computes_the_same_with_the_weights_given(
    reset: str, bidirectional: bool, bias: bool
) -> None:
    gru = GRU(5, 6, reset=reset, bias=bias, bidirectional=bidirectional)
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 2, 5])
    state = torch.randn(gru.directions, 3, 6)
    (weights,) = gru.to_onnx()
    given = {name: array for name, array in weights._asdict().items() if array is not None}
    Y, Y_h = runtime_gru(
        {
            "X": x.transpose(0, 1).contiguous().numpy(),
            **given,
            "sequence_lens": lengths.int().numpy(),
            "initial_h": state.numpy(),
        },
        6,
        gru.directions,
        reset == "after",
    )
    output, final = gru(x, lengths, state)
    expected = torch.from_numpy(Y).permute(2, 0, 1, 3).flatten(2)
    torch.testing.assert_close(output, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(final, torch.from_numpy(Y_h), rtol=0, atol=2e-6)
    assert_same_parameters(
        GRU.from_onnx([weights], linear_before_reset=reset == "after"),
        gru,
    )


@one_or_two_directions
@pytest.mark.parametrize("linear_before_reset", [False, True])
def test_weights_from_onnx_compute_what_onnx_runtime_does(
    bidirectional: bool, linear_before_reset: bool
) -> None:
    D = 2 if bidirectional else 1
    W, R, B = (noise(D, *s).float().numpy() for s in ((18, 5), (18, 6), (36,)))
    gru = GRU.from_onnx([(W, R, B)], linear_before_reset=linear_before_reset)
    x = torch.randn(2, 4, 5)
    inputs = {"X": x.transpose(0, 1).contiguous().numpy(), "W": W, "R": R, "B": B}
    Y, _ = runtime_gru(inputs, 6, D, linear_before_reset)
    expected = torch.from_numpy(Y).permute(2, 0, 1, 3).flatten(2)
    torch.testing.assert_close(gru(x)[0], expected, rtol=0, atol=2e-6)


def test_misfit_arrays_of_onnx_are_refused() -> None:
    W, R, B = GRU(5, 6).to_onnx()[0]
    with pytest.raises(ValueError, match="B has shape"):
        GRU.from_onnx([(W, R, B[:, :18])])
    with pytest.raises(ValueError, match="W and R have shapes"):
        GRU.from_onnx([(W, R[:, :9], B)])


def test_conversion_copies() -> None:
    gru = GRU(5, 6)
    before = gru.layers[0].weight_recurrent.clone()
    W, R, B = gru.to_onnx()[0]
    other = GRU.from_onnx([(W, R, B)], linear_before_reset=True)
    for array in (W, R, B, *gru.to_keras()[0]):
        array[:] = 0
    assert torch.equal(gru.layers[0].weight_recurrent, before)
    assert torch.equal(other.layers[0].weight_recurrent, before)
