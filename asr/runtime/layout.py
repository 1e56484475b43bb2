"""Where the graphs of an exported model lie in its folder."""

# The whole model, for other programs; the weights of all graphs lie beside it.
WHOLE = "model.onnx"
WEIGHTS = "model.onnx.data"
# What lies where in the file of weights, for those who read it without the graphs.
INDEX = "model.onnx.json"
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


def direction_key(number: int, direction: int) -> str:
    """Name the weights of one direction of a layer; arguments as for ``direction_name``."""
    return f"layer.{number + 1}.{('forward', 'backward')[direction]}"


def norm_key(number: int) -> str:
    """Name the weights of the norm in front of a layer."""
    return f"encoder.layers.{number}.norm"
