"""One direction of a GRU layer as nodes of a graph: ONNX's operator, or a loop over its frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto

from asr.export.graph import Graph
from asr.export.products import add_product, add_unit_product
from asr.gru.layouts import OnnxWeights

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Direction:
    """One direction of a layer, in the layout of ONNX's operator.

    Attributes:
        key: what to call it.
        W: ``(3H, I)``, rows z, r, h; z keeps the old state.
        R: ``(3H, H)``.
        bias: ``(6H,)``: of W, then of R.
        after: whether the reset gate acts after the recurrent product.
        backward: whether it reads from the end.
    """

    key: str
    W: Array
    R: Array
    bias: Array
    after: bool
    backward: bool

    @property
    def width(self) -> int:
        """Units H."""
        return int(self.R.shape[1])


def direction_of(key: str, weights: OnnxWeights, number: int, after: bool) -> Direction:
    """Take one direction out of a layer's weights.

    Args:
        key: what to call it.
        weights: of the layer.
        number: 0 for forward, 1 for backward.
        after: whether the reset gate acts after the recurrent product.
    """
    W, R = weights.W[number], weights.R[number]
    bias = np.zeros(2 * len(W), np.float32) if weights.B is None else weights.B[number]
    return Direction(key, W, R, bias, after, number == 1)


def add_recurrence(
    graph: Graph, direction: Direction, x: str, lengths: str, mask: str, state: str
) -> tuple[str, str]:
    """Add one direction.

    Args:
        graph: where the nodes go; its precision decides how they compute.
        direction: the weights.
        x: the value ``(U, B, I)``.
        lengths: the value ``(B,)``, int64.
        mask: the value ``(U, B, 1)``, bool, true at the real frames.
        state: the value ``(1, B, H)`` to start from; empty for zeros.

    Returns:
        The values of the output ``(U, B, H)``, with anything in the padding, and of the state at
        the end ``(1, B, H)``.
    """
    if graph.precision == "int8":
        return _add_loop(graph, direction, x, mask, state)
    return _add_operator(graph, direction, x, lengths, state)


def _add_operator(
    graph: Graph, direction: Direction, x: str, lengths: str, state: str
) -> tuple[str, str]:
    """Add ONNX's operator, which reads forward and all frames.

    It takes lengths and directions itself, but OpenVINO does not heed the lengths.
    """
    # A sequence of no frames ends in its padding, and its state is used by nobody.
    counts = graph.add("Max", lengths, graph.integers(1))
    if direction.backward:
        x = graph.add("ReverseSequence", x, counts, time_axis=0, batch_axis=1)
    output, _ = graph.add_node(
        "GRU",
        [
            x,
            graph.weight(f"{direction.key}.W", direction.W[None]),
            graph.weight(f"{direction.key}.R", direction.R[None]),
            graph.weight(f"{direction.key}.B", direction.bias[None]),
            "",
            state,
        ],
        2,
        hidden_size=direction.width,
        linear_before_reset=int(direction.after),
    )
    output = graph.add("Squeeze", output, graph.integers(1))
    last = graph.add("Unsqueeze", graph.add("Sub", counts, graph.integers(1)), graph.integers(1))
    rows = graph.add("Transpose", output, perm=[1, 0, 2])
    final = graph.add(
        "Unsqueeze", graph.add("GatherND", rows, last, batch_dims=1), graph.integers(0)
    )
    if direction.backward:
        output = graph.add("ReverseSequence", output, counts, time_axis=0, batch_axis=1)
    return output, final


def _add_loop(graph: Graph, direction: Direction, x: str, mask: str, state: str) -> tuple[str, str]:
    """Add the products of all inputs, and a loop over the frames with the rest."""
    H = direction.width
    bias = direction.bias.copy()
    # What no gate comes between may be added once and for all.
    bias[: 2 * H] += bias[3 * H : 5 * H]
    if not direction.after:
        bias[2 * H : 3 * H] += bias[5 * H :]
    product = add_product(graph, f"{direction.key}.W", x, direction.W.T.copy(), bias[: 3 * H])
    if state:
        first = graph.add("Squeeze", state, graph.integers(0))
    else:
        rows = graph.add("Slice", graph.add("Shape", x), *map(graph.integers, (1, 2)))
        shape = graph.add("Concat", rows, graph.integers(H), axis=0)
        first = graph.add("Expand", graph.constant(0.0), shape)
    turn = int(direction.backward)
    final, output = graph.add_node(
        "Scan",
        [first, product, mask],
        2,
        body=_step(graph, direction, bias[5 * H :] if direction.after else None),
        num_scan_inputs=2,
        scan_input_directions=[turn, turn],
        scan_output_directions=[turn],
    )
    return output, graph.add("Unsqueeze", final, graph.integers(0))


def _step(graph: Graph, direction: Direction, bias: Array | None) -> GraphProto:
    """Write one step: state (B, H), input's product (B, 3H) and mask (B, 1) to the next state."""
    H = direction.width
    body = graph.inside()
    R = direction.R.T.copy()
    x_gates, x_new = body.add_node("Split", ["x", body.integers(2 * H, H)], 2, axis=1)
    if direction.after:
        product = add_unit_product(body, f"{direction.key}.R", "h", R)
        gates, new = body.add_node("Split", [product, body.integers(2 * H, H)], 2, axis=1)
    else:
        gates = add_unit_product(body, f"{direction.key}.R.gates", "h", R[:, : 2 * H].copy())
    gates = body.add("Sigmoid", body.add("Add", gates, x_gates))
    keep, reset = body.add_node("Split", [gates, body.integers(H, H)], 2, axis=1)
    if direction.after:
        if bias is not None and bias.any():
            new = body.add("Add", new, body.weight(f"{direction.key}.R.bias", bias))
        new = body.add("Mul", reset, new)
    else:
        key = f"{direction.key}.R.new"
        new = add_unit_product(body, key, body.add("Mul", reset, "h"), R[:, 2 * H :].copy())
    new = body.add("Tanh", body.add("Add", new, x_new))
    moved = body.add("Add", new, body.add("Mul", keep, body.add("Sub", "h", new)))
    body.add_node("Where", ["real", moved, "h"], ["next"])
    body.add_node("Identity", ["next"], ["output"])
    return body.finish(
        "step",
        {
            "h": (TensorProto.FLOAT, ["batch", H]),
            "x": (TensorProto.FLOAT, ["batch", 3 * H]),
            "real": (TensorProto.BOOL, ["batch", 1]),
        },
        {"next": (TensorProto.FLOAT, ["batch", H]), "output": (TensorProto.FLOAT, ["batch", H])},
    )
