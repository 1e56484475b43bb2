"""Engines run the graphs of an exported model: ONNX Runtime or OpenVINO, a thread for each call."""

import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asr.errors import ModelFolderError, UsageError

Array = NDArray[Any]
# A graph: arrays in, arrays out, in the graph's order.
Part = Callable[..., list[Array]]


class Engine(Protocol):
    """Loads graphs."""

    name: str

    def load(self, path: Path) -> Part:
        """Load a graph.

        Raises:
            ModelFolderError: the file is missing or broken, or holds what the engine cannot run.
        """


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Calls come from as many threads as shall compute, and each computes in its own: so threads never
    wait for each other within a layer.
    """

    name = "onnx"

    def __init__(self) -> None:
        import onnxruntime

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


class OpenVinoEngine:
    """OpenVINO on the CPU, one stream for each thread.

    Args:
        threads: how many calls may run at once.
        half: whether to compute in bfloat16.
    """

    name = "openvino"

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


def computes_half() -> bool:
    """Tell whether OpenVINO computes in bfloat16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def installed(backend: str) -> bool:
    """Tell whether the library of a backend is there: ``"torch"``, ``"onnx"``, ``"openvino"``."""
    return find_spec({"onnx": "onnxruntime"}.get(backend, backend)) is not None


def open_engine(backend: str, precision: str, threads: int) -> Engine:
    """Open an engine.

    Args:
        backend: ``"onnx"`` or ``"openvino"``.
        precision: of the exported model.
        threads: how many calls may run at once.

    Raises:
        UsageError: its library is not installed, or does not compute in this precision.
    """
    if backend == "openvino" and precision == "int8":
        raise UsageError(
            "the 8-bit products of this model are ONNX Runtime's; give --backend onnx, or export "
            "the model in fp32 for OpenVINO"
        )
    library = {"onnx": "onnxruntime"}.get(backend, backend)
    if not installed(backend):
        raise UsageError(f"--backend {backend} needs the package {library}: pip install {library}")
    if backend == "onnx":
        return OnnxEngine()
    return OpenVinoEngine(threads, half=precision == "bf16" and computes_half())


def _unusable(path: Path, library: str, error: Exception) -> ModelFolderError:
    if not path.is_file():
        return ModelFolderError(f"{path} is missing; export the model again")
    reason = " ".join(str(error).split())
    return ModelFolderError(f"{library} cannot run {path}: {reason}")
