"""A graph of ONNX while it is written, and the file of weights that several graphs share."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from asr.files import atomic_write

# The oldest that has LayerNormalization and ReduceSum's axes as an input; every runtime of today
# reads it. 8 is the version of the file format that came with it.
OPSET = 17
_IR_VERSION = 8
# Runtimes map weights into memory where they start at a page.
_PAGE_BYTES = 4096
_LINE_BYTES = 64

Array = NDArray[Any]
# Type and shape of each input or output.
Value = tuple[int, Sequence[int | str]]
Values = Mapping[str, Value]


class WeightFile:
    """The weights of several graphs in one file, each array in it once.

    Args:
        path: the file, beside the graphs.
        index: another that says where each array lies, of which type and shape.
    """

    def __init__(self, path: Path, index: Path) -> None:
        self.path = path
        self._index = index
        self._places: dict[str, dict[str, Any]] = {}
        self._stream = path.open("wb")
        self._known: dict[tuple[str, int], TensorProto] = {}

    def add(self, key: str, array: Array) -> TensorProto:
        """Write an array, unless it is there, and give the tensor that refers to it.

        Args:
            key: what the array is; the same name must mean the same numbers.
            array: the numbers.
        """
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if (key, kind) in self._known:
            return self._known[key, kind]
        array = np.ascontiguousarray(array)
        unit = _PAGE_BYTES if array.nbytes >= _PAGE_BYTES else _LINE_BYTES
        self._stream.write(bytes(-self._stream.tell() % unit))
        tensor = TensorProto(name=key, data_type=kind, dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {
            "location": self.path.name,
            "offset": str(self._stream.tell()),
            "length": str(array.nbytes),
        }
        for name, value in place.items():
            tensor.external_data.add(key=name, value=value)
        self._places[key] = {
            "type": str(array.dtype),
            "shape": list(array.shape),
            "offset": self._stream.tell(),
        }
        self._stream.write(array.tobytes())
        self._known[key, kind] = tensor
        return tensor

    def close(self) -> None:
        """Finish both files."""
        self._stream.close()
        with atomic_write(self._index) as stream:
            json.dump(self._places, stream, indent=1)


class Graph:
    """Nodes that are added one after another, each value known by its name.

    Args:
        weights: where weights go; None: into the graph itself.
        precision: ``"fp32"``; ``"bf16"``, which keeps weights in half the space and casts them to
            float32 before they are used; ``"int8"``, which multiplies integers.
    """

    def __init__(self, weights: WeightFile | None = None, precision: str = "fp32") -> None:
        self._weights = weights
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._cast: dict[str, str] = {}
        self._domains: set[str] = set()

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        return self.add_node(operator, inputs, 1, domain=domain, **attributes)[0]

    def add_node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: int | Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node.

        Args:
            operator: its type.
            inputs: names of values; empty for those left out.
            outputs: how many, or their names.
            domain: of the operator; empty for ONNX's own.
            attributes: by name.

        Returns:
            The names of its outputs.
        """
        number = len(self.nodes)
        self._domains |= {domain} - {""}
        names = (
            [f"{operator}_{number}_{place}" for place in range(outputs)]
            if isinstance(outputs, int)
            else list(outputs)
        )
        self.nodes.append(
            helper.make_node(operator, list(inputs), names, domain=domain, **attributes)
        )
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Give the name of a small constant."""
        array = np.asarray(value, dtype)
        key = f"constant_{array.dtype}_{array.shape}_{array.tobytes().hex()}"
        if key not in self.initializers:
            self.initializers[key] = numpy_helper.from_array(array, key)
        return key

    def integers(self, *values: int) -> str:
        """Give the name of a constant vector of int64."""
        return self.constant(values, np.int64)

    def weight(self, key: str, array: Array, exact: bool = False) -> str:
        """Give the name of a float32 value that holds a weight.

        Args:
            key: what it is; the same name must mean the same numbers.
            array: the numbers; matrices are kept as bfloat16 where the precision says so.
            exact: never round them.
        """
        half = self.precision == "bf16" and array.dtype == np.float32 and array.ndim > 1
        half = half and not exact
        self._keep(key, array.astype(ml_dtypes.bfloat16) if half else array)
        if not half:
            return key
        if key not in self._cast:
            self._cast[key] = self.add("Cast", key, to=TensorProto.FLOAT)
        return self._cast[key]

    def _keep(self, key: str, array: Array) -> None:
        if key in self.initializers:
            return
        if self._weights is not None:
            self.initializers[key] = self._weights.add(key, array)
        else:
            self.initializers[key] = numpy_helper.from_array(array, key)

    def inside(self) -> "Graph":
        """Begin a graph that a node of this one repeats."""
        body = Graph(self._weights, self.precision)
        body._domains = self._domains
        return body

    def finish(self, name: str, inputs: Values, outputs: Values) -> onnx.GraphProto:
        """Give the graph; arguments as for ``model``."""
        return helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
            [helper.make_tensor_value_info(key, *value) for key, value in outputs.items()],
            list(self.initializers.values()),
        )

    def model(
        self,
        name: str,
        inputs: Values,
        outputs: Values,
        notes: Mapping[str, str],
    ) -> onnx.ModelProto:
        """Finish the graph.

        Args:
            name: of the graph.
            inputs: type and shape of each; strings are sizes that may be anything.
            outputs: the same of what it gives.
            notes: the model's metadata.
        """
        graph = self.finish(name, inputs, outputs)
        opsets = [helper.make_opsetid("", OPSET)]
        opsets += [helper.make_opsetid(domain, 1) for domain in sorted(self._domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        model.producer_name = "asr"
        helper.set_model_props(model, dict(notes))
        return model
