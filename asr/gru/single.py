"""One layer over one sequence on the CPU, without a gradient, its steps as calls of NumPy.

A step is then a matrix times a vector and a dozen operations on a few hundred numbers. Calling them
takes longer than computing them, and NumPy's calls are two to three times shorter than PyTorch's;
the product itself, bound by the reading of the matrix, is no slower in NumPy's library either.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.gru.recurrence import Weights

Array: TypeAlias = NDArray[np.float32]
Walk: TypeAlias = Callable[[Array, Array, Weights], None]


def run_layer(
    x: Tensor, state: Tensor | None, padding: Tensor | None, weights: Weights, after: bool
) -> tuple[Tensor, Tensor]:
    """Run all directions of a layer over the frames of one sequence.

    Arguments and result are those of ``asr.gru.layer.run_layer``, with B = 1 and everything in
    float32 on the CPU.
    """
    D, _, H = weights.recurrent.shape
    frames = len(x) if padding is None else len(x) - int(padding.sum())
    output = x.new_zeros(len(x), 1, D * H)
    final = x.new_empty(D, 1, H)
    walk = _walk_after if after else _walk_before
    for d in range(D):
        turn = slice(None, None, -1 if d else 1)
        own = weights.direction(d)
        states = np.empty((frames + 1, H), np.float32)
        states[0] = 0 if state is None else _array(state[d, 0])
        with np.errstate(over="ignore"):
            walk(_input_product(x[:frames, 0], own)[turn], states, own)
        _array(output)[:frames, 0, d * H : (d + 1) * H] = states[1:][turn]
        _array(final)[d, 0] = states[-1]
    return output, final


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().numpy()
    return array


def _input_product(x: Tensor, weights: Weights) -> Array:
    """Compute ``x · W + b`` of all steps (T, 3H), r and z with their sign turned."""
    H = weights.recurrent.shape[1]
    W = weights.input.t()
    product = _array(x @ W if weights.bias is None else torch.addmm(weights.bias, x, W))
    np.negative(product[:, : 2 * H], out=product[:, : 2 * H])
    return product


def _logistic(x: Array) -> None:
    """Put 1 / (1 + exp(x)), the logistic function of −x, in its place."""
    np.exp(x, x)
    np.add(x, 1, x)
    np.reciprocal(x, x)


def _take_new(h: Array, c: Array, z: Array, new: Array) -> None:
    """Write ``(1 − z) ∘ h + z ∘ c``; ``c`` is overwritten."""
    np.subtract(c, h, c)
    np.multiply(c, z, c)
    np.add(h, c, new)


def _walk_after(product: Array, states: Array, weights: Weights) -> None:
    """Fill ``states`` (T + 1, H), whose first row is given; ``product`` is (T, 3H)."""
    H = states.shape[1]
    U = _array(weights.recurrent).copy()
    np.negative(U[: 2 * H], out=U[: 2 * H])
    bias = None if weights.bias_recurrent is None else _array(weights.bias_recurrent)
    step = np.empty(3 * H, np.float32)
    rz, r, z, c = step[: 2 * H], step[:H], step[H : 2 * H], step[2 * H :]
    h = states[0]
    for x_rz, x_c, new in zip(product[:, : 2 * H], product[:, 2 * H :], states[1:], strict=True):
        np.dot(U, h, step)
        np.add(rz, x_rz, rz)
        _logistic(rz)
        if bias is not None:
            np.add(c, bias, c)
        np.multiply(r, c, c)
        np.add(c, x_c, c)
        np.tanh(c, c)
        _take_new(h, c, z, new)
        h = new


def _walk_before(product: Array, states: Array, weights: Weights) -> None:
    """Fill ``states`` (T + 1, H), whose first row is given; ``product`` is (T, 3H)."""
    H = states.shape[1]
    U = _array(weights.recurrent)
    U_rz, U_c = -U[: 2 * H], U[2 * H :]
    rz, c = np.empty(2 * H, np.float32), np.empty(H, np.float32)
    r, z = rz[:H], rz[H:]
    h = states[0]
    for x_rz, x_c, new in zip(product[:, : 2 * H], product[:, 2 * H :], states[1:], strict=True):
        np.dot(U_rz, h, rz)
        np.add(rz, x_rz, rz)
        _logistic(rz)
        np.multiply(r, h, r)
        np.dot(U_c, r, c)
        np.add(c, x_c, c)
        np.tanh(c, c)
        _take_new(h, c, z, new)
        h = new
