"""Where the graphs of an exported model lie in its folder."""

# The whole model, for other programs; the weights of all graphs lie beside it.
WHOLE = "model.onnx"
WEIGHTS = "model.onnx.data"
# Its parts from features on.
SUBSAMPLING = "subsampling.onnx"
HEAD = "head.onnx"


def direction_name(number: int, direction: int) -> str:
    """Name the graph of one direction of a layer.

    Args:
        number: of the layer, from 0.
        direction: 0 reads forward, 1 backward.
    """
    return f"layer-{number + 1}-{('forward', 'backward')[direction]}.onnx"
