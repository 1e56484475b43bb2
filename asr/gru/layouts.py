"""One layer's parameters as arrays in the layouts of ONNX's GRU operator and of Keras, and back.

Both order their rows z, r, candidate, and their update gate keeps where ours takes the new: since
σ(−a) = 1 − σ(a), the rows of that gate change their sign. ``asr.gru.convert`` does the same for
torch.nn.GRU.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class OnnxWeights(NamedTuple):
    """Inputs of ONNX's GRU operator for one layer of D directions, forward before reverse."""

    W: Array
    """(D, 3H, F), rows z, r, h."""
    R: Array
    """(D, 3H, H)."""
    B: Array | None
    """(D, 6H): biases of W, then of R; None: no biases."""


def from_onnx(
    weights: tuple[Array, Array, Array | None], *, linear_before_reset: bool
) -> dict[str, Tensor]:
    """Read the parameters of one layer from the inputs of ONNX's GRU operator.

    Args:
        weights: W (D, 3H, F), R (D, 3H, H) and B (D, 6H) or None.
        linear_before_reset: the operator's attribute: whether the reset gate acts after the
            product.

    Returns:
        ``weight_input``, ``weight_recurrent`` and, if there are biases, ``bias`` and with
        ``linear_before_reset`` ``bias_recurrent``, as ``GRULayer`` names them.

    Raises:
        ValueError: the shapes do not belong together.
    """
    W, R, B = (None if array is None else torch.from_numpy(np.array(array)) for array in weights)
    assert W is not None and R is not None
    D, H = R.shape[0], R.shape[-1]
    if W.dim() != 3 or R.shape != (D, 3 * H, H) or W.shape[:2] != (D, 3 * H) or D not in (1, 2):
        raise ValueError(
            f"GRU: W and R have shapes {tuple(W.shape)} and {tuple(R.shape)}; expected (D, 3 * H, "
            "F) and (D, 3 * H, H) with 1 or 2 directions D: pass a layer as ONNX's GRU takes it."
        )
    if B is not None and B.shape != (D, 6 * H):
        raise ValueError(
            f"GRU: B has shape {tuple(B.shape)}; expected {(D, 6 * H)}: pass the biases of W and "
            "R one behind the other."
        )
    found = {"weight_input": _from_z_first(W), "weight_recurrent": _from_z_first(R)}
    if B is not None:
        of_input, of_state = B.chunk(2, dim=1)
        if linear_before_reset:
            found["bias_recurrent"] = of_state[:, 2 * H :].clone()
            of_state[:, 2 * H :] = 0
        # Those that no gate comes between are only ever added to each other.
        found["bias"] = _from_z_first(of_input + of_state)
    return found


def to_onnx(parameters: Mapping[str, Tensor]) -> OnnxWeights:
    """Order the parameters of one layer as ONNX's GRU operator takes them.

    Args:
        parameters: ``state_dict()`` of a ``GRULayer``.
    """
    R = _to_z_first(parameters["weight_recurrent"])
    B = None
    if "bias" in parameters:
        of_state = R.new_zeros(R.shape[:2])
        if "bias_recurrent" in parameters:
            of_state[:, 2 * R.shape[2] :] = parameters["bias_recurrent"]
        B = torch.cat([_to_z_first(parameters["bias"]), of_state], dim=1).cpu().numpy()
    W = _to_z_first(parameters["weight_input"])
    return OnnxWeights(W.cpu().numpy(), R.cpu().numpy(), B)


def from_keras(weights: Sequence[Array], *, reset_after: bool) -> dict[str, Tensor]:
    """Read the parameters of one layer from what ``get_weights()`` of a Keras layer gives.

    Args:
        weights: kernel (F, 3H), recurrent kernel (H, 3H) and, if there are biases, the bias:
            (2, 3H) with ``reset_after``, else (3H,); of a ``Bidirectional`` layer those of the
            forward direction before those of the backward one.
        reset_after: as in Keras.

    Returns:
        As ``from_onnx``.

    Raises:
        ValueError: a count or a shape does not fit.
    """
    if len(weights) not in (2, 3, 4, 6):
        raise ValueError(
            f"GRU: there are {len(weights)} arrays; expected 2 or 3 for each of 1 or 2 directions: "
            "pass what get_weights() of one Keras layer gives."
        )
    directions = 1 if len(weights) < 4 else 2
    each = len(weights) // directions
    kernels, recurrent = weights[0::each], weights[1::each]
    W, R = (np.stack([array.T for array in arrays]) for arrays in (kernels, recurrent))
    if each == 2:
        return from_onnx((W, R, None), linear_before_reset=reset_after)
    expected = (2, R.shape[1]) if reset_after else (R.shape[1],)
    rows = []
    for bias in weights[2::each]:
        if bias.shape != expected:
            raise ValueError(
                f"GRU: a bias has shape {bias.shape}; expected {expected} with reset_after="
                f"{reset_after}: pass reset_after={bias.ndim == 2}."
            )
        rows.append(bias.ravel() if reset_after else np.concatenate([bias, np.zeros_like(bias)]))
    return from_onnx((W, R, np.stack(rows)), linear_before_reset=reset_after)


def to_keras(parameters: Mapping[str, Tensor], *, reset_after: bool) -> list[Array]:
    """Order the parameters of one layer as ``set_weights()`` of a Keras layer takes them.

    Args:
        parameters: ``state_dict()`` of a ``GRULayer``.
        reset_after: whether its reset gate acts after the product.
    """
    W, R, B = to_onnx(parameters)
    found = []
    for d in range(len(W)):
        found += [W[d].T.copy(), R[d].T.copy()]
        if B is not None:
            both = B[d].reshape(2, -1)
            found.append(both if reset_after else both[0])
    return found


def _from_z_first(rows: Tensor) -> Tensor:
    z, r, candidate = rows.chunk(3, dim=1)
    return torch.cat([r, -z, candidate], dim=1)


def _to_z_first(rows: Tensor) -> Tensor:
    r, z, candidate = rows.chunk(3, dim=1)
    return torch.cat([-z, r, candidate], dim=1)
