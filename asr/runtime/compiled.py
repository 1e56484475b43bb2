"""The engine that runs layers by machine code of its own, and all else by ONNX Runtime."""

from pathlib import Path

from asr.runtime.engine import ROUNDING, OnnxEngine, Part
from asr.runtime.kernel.layer import STEPS
from asr.runtime.kernel.machine import compile_walk
from asr.runtime.kernel.part import CompiledPart
from asr.runtime.weights import StoredWeights, read_parameters


class CompiledEngine(OnnxEngine):
    """Machine code for the recurrent layers, ONNX Runtime for convolutions and head.

    With 8-bit weights the activations of the layers have 14 bits, so that rounding them costs
    nothing; those of the other parts have 8, as with ONNX Runtime alone.

    Args:
        after: whether the reset gate acts after the recurrent product.
        integers: whether weights are 8-bit integers.
    """

    name = "compiled"

    def __init__(self, after: bool, integers: bool) -> None:
        super().__init__()
        # States are rounded to so many steps; a few of them are nothing.
        self.tolerance = 3 / STEPS if integers else ROUNDING
        self._after = after
        self._walk = compile_walk(integers, after)
        self._weights: StoredWeights | None = None

    def load_direction(self, folder: Path, number: int, direction: int) -> Part:
        """Load one direction of a layer; see ``Engine``."""
        if self._weights is None:
            self._weights = StoredWeights(folder)
        parameters = read_parameters(self._weights, number, direction, self._after)
        return CompiledPart(self._walk, parameters, direction == 1)
