"""Matrix products as nodes of a graph: in float32, or of 8-bit integers with scales of their own.

Weights have one scale a column. Activations have one for each frame, taken from the frame itself:
so what an utterance gives depends neither on the others of its batch nor on data for calibration.
A GRU's state lies between -1 and 1 and has a fixed scale.
"""

import numpy as np
from numpy.typing import NDArray

from asr.export.graph import Graph

# The operator that multiplies integers and scales the product at once, of ONNX Runtime.
DOMAIN = "com.microsoft"
# Unsigned 8-bit activations with 7-bit weights: sums of two products fit the 16 bits that
# processors with AVX2 add them in.
_WEIGHT_STEPS = 63
_STEPS = 127
_ZERO = 128


def add_product(
    graph: Graph,
    key: str,
    rows: str,
    matrix: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
) -> str:
    """Add ``rows · matrix + bias``.

    Args:
        graph: where the nodes go; its precision decides how.
        key: what the matrix is.
        rows: the value ``(..., I)``, float32.
        matrix: ``(I, O)``.
        bias: ``(O,)``, or None.

    Returns:
        The value ``(..., O)``, float32.
    """
    if graph.precision == "int8":
        largest = graph.add("ReduceMax", graph.add("Abs", rows), axes=[-1], keepdims=1)
        # A frame of zeros has no scale.
        largest = graph.add("Max", largest, graph.constant(1e-20))
        product = add_unit_product(graph, key, graph.add("Div", rows, largest), matrix)
        product = graph.add("Mul", product, largest)
    else:
        product = graph.add("MatMul", rows, graph.weight(key, matrix))
    if bias is None:
        return product
    return graph.add("Add", product, graph.weight(f"{key}.bias", bias))


def add_unit_product(graph: Graph, key: str, rows: str, matrix: NDArray[np.float32]) -> str:
    """Add ``rows · matrix`` of 8-bit integers, for rows whose values lie between -1 and 1.

    Args:
        graph: where the nodes go.
        key: what the matrix is.
        rows: the value ``(..., I)``, float32.
        matrix: ``(I, O)``.

    Returns:
        The value ``(..., O)``, float32.
    """
    scales = np.maximum(np.abs(matrix).max(axis=0), np.float32(1e-20)) / _WEIGHT_STEPS
    integers = np.rint(matrix / scales).astype(np.int8)
    step = graph.constant(1 / _STEPS)
    zero = graph.constant(_ZERO, np.uint8)
    return graph.add(
        "MatMulIntegerToFloat",
        graph.add("QuantizeLinear", rows, step, zero),
        graph.weight(f"{key}.int8", integers),
        step,
        graph.weight(f"{key}.scales", scales.astype(np.float32)),
        zero,
        domain=DOMAIN,
    )
