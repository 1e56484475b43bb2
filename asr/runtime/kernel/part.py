"""One direction of a layer of an exported model, with its parameters in the order of the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.runtime.kernel.layer import STEPS, TABLE
from asr.runtime.kernel.machine import Walk
from asr.runtime.kernel.product import PANEL, pack_floats, pack_integers

Array = NDArray[Any]
# Frames of all utterances together that are multiplied at once: their products stay in the cache.
_BLOCK_ROWS = 64


@dataclass(frozen=True)
class Parameters:
    """Parameters of one direction as matrices, gates in the order keep, reset, candidate.

    Attributes:
        norm_weight: ``(D,)``.
        norm_bias: ``(D,)``.
        W: ``(D, 3H)``, float32, or int8 with ``W_scales`` ``(3H,)``.
        bias: ``(3H,)``, added to the product of the input.
        R: ``(H, 3H)``, likewise with ``R_scales``.
        R_bias: ``(H,)``, added to the candidate's recurrent product.
    """

    norm_weight: Array
    norm_bias: Array
    W: Array
    W_scales: Array
    bias: Array
    R: Array
    R_scales: Array
    R_bias: Array


class CompiledPart:
    """Runs one direction; it may be called by several threads at once.

    Args:
        walk: the code, of integers where the matrices are.
        parameters: of the direction.
        backward: whether it reads from the end.
    """

    def __init__(self, walk: Walk, parameters: Parameters, backward: bool) -> None:
        inputs, units = len(parameters.W), len(parameters.R)
        self.integers = parameters.W.dtype == np.int8
        self._walk = walk
        self._depth, self._width = _filled(inputs), _filled(units)
        pack = pack_integers if self.integers else pack_floats
        gates = [slice(gate * units, (gate + 1) * units) for gate in range(3)]

        def columns(values: Array) -> Array:
            # Each gate is filled up by itself, so that all begin at whole panels.
            room = [(0, 0)] * (values.ndim - 1) + [(0, self._width - units)]
            return np.concatenate([np.pad(values[..., gate], room) for gate in gates], axis=-1)

        self._arrays = {
            "norm_weight": _fill(parameters.norm_weight, self._depth),
            "norm_bias": _fill(parameters.norm_bias, self._depth),
            "W": pack(columns(parameters.W), self._depth),
            "W_scales": _aligned(columns(parameters.W_scales)),
            "bias": _aligned(columns(parameters.bias)),
            "R": pack(columns(parameters.R), self._width),
            "R_scales": _aligned(columns(parameters.R_scales)),
            "R_bias": _fill(parameters.R_bias, self._width),
            "state_scale": np.array([1 / STEPS], np.float32),
        }
        self._sizes = {
            "inputs": inputs,
            "depth": self._depth,
            "units": units,
            "width": self._width,
            "backward": int(backward),
        }

    def __call__(self, hidden: Array, lengths: Array, state: Array) -> list[Array]:
        """Run over a padded batch.

        Args:
            hidden: ``(B, U, D)`` float32.
            lengths: ``(B,)`` int64.
            state: ``(1, B, H)`` float32 to start from.

        Returns:
            The output ``(B, U, H)``, zero in the padding, and the state at the end ``(1, B, H)``.
        """
        hidden = np.ascontiguousarray(hidden, np.float32)
        rows, units = len(hidden), state.shape[2]
        order = np.argsort(-lengths, kind="stable")
        ordered = lengths[order].astype(np.int64)
        output = np.zeros((rows, hidden.shape[1], units), np.float32)
        arrays = self._arrays | {
            "hidden": hidden,
            "output": output,
            "order": order.astype(np.int64),
            "lengths": ordered,
            **self._room(state[0, order]),
        }
        sizes = self._sizes | {
            "hidden_row": hidden.strides[0],
            "hidden_frame": hidden.strides[1],
            "output_row": output.strides[0],
            "output_frame": output.strides[1],
            "rows": rows,
            "frames": int(ordered[0]),
            "block": max(_BLOCK_ROWS // rows, 1),
        }
        addresses = {name: array.ctypes.data for name, array in arrays.items()}
        table = np.array([(addresses | sizes)[name] for name in TABLE], np.int64)
        self._walk(table.ctypes.data)
        final = np.empty_like(state)
        final[0, order] = arrays["state"][:, :units]
        return [output, final]

    def _room(self, state: Array) -> Mapping[str, Array]:
        """Give the arrays that a call works in."""
        rows, units = state.shape
        most = max(_BLOCK_ROWS, rows)
        kind = np.int16 if self.integers else np.float32
        states = np.zeros((rows, self._width), np.float32)
        states[:, :units] = state
        return {
            "state": states,
            "rounded": np.rint(states * STEPS).astype(np.int16) if self.integers else states,
            "reset": np.zeros((rows, self._width), kind),
            "gates": np.empty((rows, 3 * self._width), np.float32),
            "row": np.zeros((2, self._depth), np.float32),
            "x": np.empty((most, self._depth), kind),
            "x_scales": np.empty(most, np.float32),
            "products": np.empty((most, 3 * self._width), np.float32),
        }


def _filled(size: int) -> int:
    return -(-size // PANEL) * PANEL


def _fill(values: Array, size: int) -> Array:
    return _aligned(np.pad(values, (0, size - len(values))))


def _aligned(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32)
