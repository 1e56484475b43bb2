"""Engines run the parts of an exported model, a thread for each call.

ONNX Runtime and OpenVINO run graphs. The compiled engine leaves to ONNX Runtime what is no
recurrence, and runs the layers by machine code of its own.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asr.errors import ModelFolderError
from asr.runtime.layout import direction_name

Array = NDArray[Any]
# A graph: arrays in, arrays out, in the graph's order.
Part = Callable[..., list[Array]]
# By how much products of one frame differ from batch to batch, and nearly a step of the 127 that
# a state is rounded to.
ROUNDING = 1e-5
STEP_OF_8_BITS = 5e-3


class Engine(Protocol):
    """Loads graphs."""

    name: str
    # By how much states may differ and count as the same.
    tolerance: float

    def load(self, path: Path) -> Part:
        """Load a graph.

        Raises:
            ModelFolderError: the file is missing or broken, or holds what the engine cannot run.
        """

    def load_direction(self, folder: Path, number: int, direction: int) -> Part:
        """Load one direction of a layer.

        Args:
            folder: of the model.
            number: of the layer, from 0.
            direction: 0 reads forward, 1 backward.

        Raises:
            ModelFolderError: as for ``load``.
        """


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Calls come from as many threads as shall compute, and each computes in its own: so threads never
    wait for each other within a layer.

    Args:
        integers: whether its products are of 8-bit integers.
    """

    name = "onnx"

    def __init__(self, integers: bool = False) -> None:
        import onnxruntime

        self.tolerance = STEP_OF_8_BITS if integers else ROUNDING
        self._library = onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # An arena of its own for each of many graphs would hold the most that any batch took.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        self._options = options

    def load(self, path: Path) -> Part:
        """Load a graph; see ``Engine``."""
        try:
            session = self._library.InferenceSession(
                str(path), self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Its errors have no base class of their own.
            raise _unusable(path, "onnxruntime", error) from error
        inputs = [each.name for each in session.get_inputs()]

        def run(*arrays: Array) -> list[Array]:
            found: list[Array] = session.run(None, dict(zip(inputs, arrays, strict=True)))
            return found

        return run

    def load_direction(self, folder: Path, number: int, direction: int) -> Part:
        """Load one direction of a layer; see ``Engine``."""
        return self.load(folder / direction_name(number, direction))


class OpenVinoEngine:
    """OpenVINO on the CPU, one stream for each thread.

    Args:
        threads: how many calls may run at once.
        half: whether to compute in bfloat16.
    """

    name = "openvino"
    tolerance = ROUNDING

    def __init__(self, threads: int, half: bool = False) -> None:
        import openvino

        self._core = openvino.Core()
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        }

    def load(self, path: Path) -> Part:
        """Load a graph; see ``Engine``."""
        try:
            compiled = self._core.compile_model(str(path), "CPU", self._options)
        except Exception as error:
            raise _unusable(path, "openvino", error) from error
        own = threading.local()

        def run(*arrays: Array) -> list[Array]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            own.request.infer(list(arrays), share_inputs=True)
            # A copy: the next call of this thread writes over it.
            return [np.array(tensor.data) for tensor in own.request.output_tensors]

        return run

    def load_direction(self, folder: Path, number: int, direction: int) -> Part:
        """Load one direction of a layer; see ``Engine``."""
        return self.load(folder / direction_name(number, direction))


def computes_half() -> bool:
    """Tell whether OpenVINO computes in bfloat16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _unusable(path: Path, library: str, error: Exception) -> ModelFolderError:
    if not path.is_file():
        return ModelFolderError(f"{path} is missing; export the model again")
    reason = " ".join(str(error).split())
    return ModelFolderError(f"{library} cannot run {path}: {reason}")
