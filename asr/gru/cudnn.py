"""One layer of the GRU with the reset gate after the product, by the GRU of cuDNN."""

import torch
from torch import Tensor

from asr.gru.convert import to_torch
from asr.gru.recurrence import Weights

HELD = 8192.0
"""Input of the update gate beyond a sequence's length: its logistic function is 1 in every type."""

EXTRA_COLUMNS = 8
"""Columns that the input grows by, of which one is used: products like rows of 16 bytes."""


def run_layer(
    x: Tensor,
    state: Tensor | None,
    padding: Tensor | None,
    weights: Weights,
    product_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Run all directions of a layer over all frames, differentiably.

    Arguments and result are those of ``asr.gru.layer.run_layer`` with ``after``. PyTorch hands
    the work to cuDNN on CUDA and computes the same itself elsewhere. cuDNN keeps the states in the
    type of the products, unlike the other backends.

    cuDNN's own way to lengths is the packed sequence: it needs them on the CPU, which waits for
    the GPU, and leaves cuDNN fewer algorithms. Reversing the backward direction by own lengths
    instead takes two runs, one direction after the other. Here one more column of the input is 1
    beyond a sequence's length, and its weights are zero but for the update gate, which it opens to
    cuDNN's "keep the old" so far that exactly the old is kept: the backward direction reaches a
    sequence's last frame with its initial state, the forward one keeps its final state, and no
    gradient passes through the gates there.
    """
    D, _, H = weights.recurrent.shape
    parameters = {"weight_input": weights.input, "weight_recurrent": weights.recurrent}
    if weights.bias is not None and weights.bias_recurrent is not None:
        parameters |= {"bias": weights.bias, "bias_recurrent": weights.bias_recurrent}
    x = x.to(product_dtype)
    if padding is not None:
        # Our update gate takes the new: it is one minus cuDNN's, which ``to_torch`` turns it into.
        kept = slice(H, 2 * H)
        x, parameters["weight_input"] = with_lengths(x, padding, weights.input, kept)
    if state is None:
        state = weights.recurrent.new_zeros(D, x.shape[1], H)
    output, final = torch.gru(
        x,
        state.to(product_dtype),
        in_one_buffer(to_torch(parameters, 0), product_dtype),
        weights.bias is not None,
        1,
        0.0,
        torch.is_grad_enabled(),
        D == 2,
        False,
    )
    output = output.to(weights.recurrent.dtype)
    if padding is not None:
        output = output.masked_fill(padding, 0)
    return output, final.to(weights.recurrent.dtype)


def with_lengths(
    x: Tensor, padding: Tensor, weight_input: Tensor, closed: slice
) -> tuple[Tensor, Tensor]:
    """Append the column that is 1 beyond the lengths, and weights that close a gate there.

    Args:
        x: (T, B, F).
        padding: (T, B, 1), true beyond each sequence's length.
        weight_input: (D, rows, F).
        closed: the gate's rows.
    """
    T, B, _ = x.shape
    D, rows, _ = weight_input.shape
    beyond = x.new_zeros(T, B, EXTRA_COLUMNS)
    beyond[..., :1] = padding
    columns = weight_input.new_zeros(D, rows, EXTRA_COLUMNS)
    columns[:, closed, 0] = -HELD
    return torch.cat([x, beyond], dim=2), torch.cat([weight_input, columns], dim=2)


def in_one_buffer(named: dict[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Order parameters as cuDNN does, all in one buffer, so that PyTorch copies none again.

    Args:
        named: by the names that PyTorch's recurrent modules give them.
        dtype: of the result.
    """
    names = [name for kind in ("weight", "bias") for name in named if name.startswith(kind)]
    buffer = torch.cat([named[name].flatten() for name in names]).to(dtype)
    pieces = torch.split(buffer, [named[name].numel() for name in names])
    found = {n: piece.view(named[n].shape) for n, piece in zip(names, pieces, strict=True)}
    return [found[name] for name in named]
