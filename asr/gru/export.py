"""One layer of the GRU as a single operator in exported graphs, and its place in ONNX."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr.gru.layer import run_layer
from asr.gru.recurrence import Weights

SCHEMA = (
    "(Tensor x, Tensor? state, Tensor? padding, bool after, Tensor weight_input, "
    "Tensor weight_recurrent, Tensor? bias, Tensor? bias_recurrent) -> (Tensor, Tensor)"
)


@torch.library.custom_op("asr::gru_layer", mutates_args=(), schema=SCHEMA)
def gru_layer(
    x: Tensor,
    state: Tensor | None,
    padding: Tensor | None,
    after: bool,
    *parameters: Any,
) -> tuple[Tensor, Tensor]:
    """Run a layer as ``run_layer`` does, products in the parameters' type, without a gradient.

    In a graph of ``torch.export`` this is one node, whatever the number of frames.
    """
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        weights = Weights(*parameters)
        return run_layer(x, state, padding, weights, after, weights.recurrent.dtype)


@gru_layer.register_fake
def _shapes(
    x: Tensor,
    state: Tensor | None,
    padding: Tensor | None,
    after: bool,
    *parameters: Any,
) -> tuple[Tensor, Tensor]:
    T, B = x.shape[:2]
    recurrent = Weights(*parameters).recurrent
    D, _, H = recurrent.shape
    return recurrent.new_empty(T, B, D * H), recurrent.new_empty(D, B, H)


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Tell ``torch.onnx.export`` how the GRU is written as ONNX's operator of that name.

    Batch size and frames may be dynamic::

        torch.onnx.export(
            gru.eval(), (x, lengths), "gru.onnx", dynamo=True,
            dynamic_shapes=({0: "batch", 1: "frames"}, {0: "batch"}),
            custom_translation_table=asr.gru.onnx_translations(),
        )

    The operator's update gate keeps where ours takes the new, so the rows of that gate change
    their sign; ``linear_before_reset`` is 1 where the reset gate acts after the product.

    Returns:
        The value of ``custom_translation_table``.

    Raises:
        ModuleNotFoundError: onnxscript is not installed, which torch.onnx.export needs as well.

    Source: ONNX operator GRU, opset 14.
    """
    from onnxscript.onnx_types import TensorType

    def translate(
        x: TensorType,
        state: TensorType | None,
        padding: TensorType | None,
        after: bool,
        weight_input: TensorType,
        weight_recurrent: TensorType,
        bias: TensorType | None,
        bias_recurrent: TensorType | None,
    ) -> tuple[TensorType, TensorType]:
        weights: Any = (weight_input, weight_recurrent, bias, bias_recurrent)
        return _as_onnx(x, state, padding, Weights(*weights), after)

    return {torch.ops.asr.gru_layer.default: translate}


def _as_onnx(x: Any, state: Any, padding: Any, weights: Weights, after: bool) -> tuple[Any, Any]:
    """Write the nodes of one layer; every argument and weight is a value of the graph or None."""
    from onnxscript import ir, opset18

    # Its own annotations do not know that the values of one graph fit each other.
    op: Any = opset18
    D, _, H = (int(size) for size in weights.recurrent.shape)

    def gates(rows: Any) -> tuple[Any, Any, Any]:
        """The rows z, r, candidate, as ONNX orders them, with its sign of z."""
        r, z, candidate = (
            op.Slice(rows, *(op.Constant(value_ints=[bound]) for bound in (i * H, (i + 1) * H, 1)))
            for i in range(3)
        )
        return op.Neg(z), r, candidate

    W = op.Concat(*gates(weights.input), axis=1)
    R = op.Concat(*gates(weights.recurrent), axis=1)
    B = lengths = None
    bias: Any = weights.bias
    if bias is not None:
        zeros = torch.zeros(D, 2 * H if after else 3 * H).numpy().astype(bias.dtype.numpy())
        zeros = op.Constant(value=ir.tensor(zeros))
        of_state = (zeros, weights.bias_recurrent) if after else (zeros,)
        B = op.Concat(*gates(bias), *of_state, axis=1)
    if padding is not None:
        real = op.Cast(op.Not(padding), to=6)
        axes = op.Constant(value_ints=[0, 2])
        lengths = op.ReduceSum(real, axes, keepdims=0)
    output, final = op.GRU(
        *(x, W, R, B, lengths, state),
        hidden_size=H,
        direction="bidirectional" if D == 2 else "forward",
        linear_before_reset=int(after),
    )
    if state is not None and lengths is not None:
        # The operator does not carry the state through a sequence of no frames.
        empty = op.Equal(lengths, op.Constant(value=ir.tensor(0, ir.DataType.INT32)))
        final = op.Where(op.Unsqueeze(empty, op.Constant(value_ints=[0, 2])), state, final)
    frames_first = op.Transpose(output, perm=[0, 2, 1, 3])
    return op.Reshape(frames_first, op.Constant(value_ints=[0, 0, D * H])), final
