"""The weights of an exported model as arrays, read without the graphs that they belong to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import ModelFolderError
from asr.runtime.kernel.part import Parameters
from asr.runtime.layout import INDEX, WEIGHTS, direction_key, norm_key

Array = NDArray[Any]


class StoredWeights:
    """Arrays by their names.

    Args:
        folder: of the exported model.

    Raises:
        ModelFolderError: a file is missing or broken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._places = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self._bytes = np.memmap(folder / WEIGHTS, np.uint8, mode="r")
        except FileNotFoundError as error:
            raise ModelFolderError(
                f"{error.filename} is missing, so that --backend compiled has no weights; export "
                "the model again"
            ) from error
        except (OSError, ValueError) as error:
            raise ModelFolderError(f"the weights in {folder} cannot be read: {error}") from error

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such an array."""
        return name in self._places

    def __getitem__(self, name: str) -> Array:
        """Give an array, bfloat16 as float32."""
        try:
            place = self._places[name]
            half = place["type"] == "bfloat16"
            dtype = np.dtype(np.uint16 if half else place["type"])
            count = int(np.prod(place["shape"]))
            start, size = place["offset"], count * dtype.itemsize
            array = self._bytes[start : start + size].view(dtype).reshape(place["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(
                f"{self._folder} holds no whole weight '{name}'; export the model again"
            ) from error
        if not half:
            return np.array(array)
        # The upper half of a float32 is a bfloat16.
        return (array.astype(np.uint32) << 16).view(np.float32)


def read_parameters(weights: StoredWeights, number: int, direction: int, after: bool) -> Parameters:
    """Read one direction of a layer.

    Args:
        weights: of the model.
        number: of the layer, from 0.
        direction: 0 reads forward, 1 backward.
        after: whether the reset gate acts after the recurrent product.
    """
    key = direction_key(number, direction)
    name = norm_key(number)
    norm = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if f"{key}.W.int8" in weights:
        return _read_integers(weights, key, norm, after)
    W, R = weights[f"{key}.W"][0].T, weights[f"{key}.R"][0].T
    of_input, of_state = np.split(weights[f"{key}.B"][0], 2)
    H = len(R)
    # What no gate comes between may be added once and for all.
    added = slice(0, 2 * H if after else 3 * H)
    bias = of_input.copy()
    bias[added] += of_state[added]
    ones = np.ones(3 * H, np.float32)
    return Parameters(*norm, W, ones, bias, R, ones, of_state[2 * H :])


def _read_integers(
    weights: StoredWeights, key: str, norm: tuple[Array, Array], after: bool
) -> Parameters:
    parts = ("R",) if after else ("R.gates", "R.new")
    R = np.concatenate([weights[f"{key}.{part}.int8"] for part in parts], axis=1)
    scales = np.concatenate([weights[f"{key}.{part}.scales"] for part in parts])
    of_state = f"{key}.R.bias"
    return Parameters(
        *norm,
        weights[f"{key}.W.int8"],
        weights[f"{key}.W.scales"],
        weights[f"{key}.W.bias"],
        R,
        scales,
        weights[of_state] if of_state in weights else np.zeros(len(R), np.float32),
    )
