"""The recurrence of one direction over all steps, forward and backward, in both forms.

Everything here is plain tensors, time first, without autograd. One direction walks its rows of
``states`` (T + 2, B, H): row t + 1 is the state after frame t, row 0 the state before the first
frame of the forward direction, row T + 1 that before the last frame, where the other one starts.

At small sizes the time goes into the number of operations a step and not into their arithmetic;
so each step works in place on one buffer, and all that needs no earlier step is done for all
steps at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_ROWS = 512
"""Rows (frames times batch) of an input product whose result is not kept."""


class Weights(NamedTuple):
    """Parameters of one layer and direction, rows in the order r, z, candidate.

    Where a whole layer is meant, its directions are stacked in a first dimension D.
    """

    input: Tensor
    """(3H, F)"""
    recurrent: Tensor
    """(3H, H)"""
    bias: Tensor | None
    """(3H,)"""
    bias_recurrent: Tensor | None
    """(H,), only where the reset gate acts after the product"""

    def direction(self, d: int) -> "Weights":
        """Take one direction out of a layer's."""
        return Weights(
            self.input[d],
            self.recurrent[d],
            None if self.bias is None else self.bias[d],
            None if self.bias_recurrent is None else self.bias_recurrent[d],
        )


class Gradients(NamedTuple):
    """What ``Weights`` holds, as gradients, with those of the input and the initial state."""

    input: Tensor
    recurrent: Tensor
    bias: Tensor | None
    bias_recurrent: Tensor | None
    x: Tensor
    state: Tensor


def forward(
    x: Tensor,
    states: Tensor,
    weights: Weights,
    padding: Tensor | None,
    *,
    after: bool,
    back: bool,
    keep: bool,
) -> Tensor:
    """Run one direction over all frames.

    Args:
        x: input (T, B, F), in the type of the products.
        states: (T + 2, B, H), the initial state in row 0 (or T + 1); the others are written.
        weights: in the type of the products, biases in that of the states.
        padding: (T, B, 1), true beyond each sequence's length, or None; the update gate is zero
            there, so that the state passes unchanged.
        after: whether the reset gate acts after the recurrent product.
        back: whether to run from the last frame to the first.
        keep: whether ``backward`` will follow; otherwise memory is used for a block of frames
            only, which the processor's cache holds.

    Returns:
        What ``backward`` needs besides the states: r, z, candidate (T, B, 3H); with ``after``
        preceded by the recurrent product of the candidate, (T, B, 4H). Of no use without ``keep``.
    """
    T, B, H = x.shape[0], x.shape[1], states.shape[2]
    block = T if keep or x.device.type != "cpu" else min(T, max(1, BLOCK_ROWS // max(1, B)))
    gates = states.new_empty(block, B, 4 * H if after else 3 * H)
    starts = range(0, T, max(1, block))
    for start in reversed(starts) if back else starts:
        stop = min(start + block, T)
        part = gates[: stop - start]
        _input_product(x[start:stop], weights, part[..., -3 * H :])
        if padding is not None:
            part[..., -2 * H : -H].masked_fill_(padding[start:stop], float("-inf"))
        rows = states[start : stop + 2].unbind(0)
        if after:
            if weights.bias_recurrent is None:
                part[..., :H].zero_()
            else:
                part[..., :H] = weights.bias_recurrent
            _forward_after(part, weights.recurrent, rows, back)
        else:
            _forward_before(part, weights.recurrent, rows, back)
    return gates


def _input_product(x: Tensor, weights: Weights, out: Tensor) -> None:
    """Write ``x · W + b`` of all steps, one matrix product, into the strided ``out``."""
    flat, flat_out = x.flatten(0, 1), out.flatten(0, 1)
    W = weights.input.t()
    if x.dtype != out.dtype:
        flat_out.copy_(flat @ W)
        if weights.bias is not None:
            flat_out.add_(weights.bias)
    elif weights.bias is None:
        torch.mm(flat, W, out=flat_out)
    else:
        torch.addmm(weights.bias, flat, W, out=flat_out)


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a · b``, computed in the type of ``b``, to ``out``."""
    if a.dtype == b.dtype:
        out.addmm_(a, b)
    else:
        out.add_(a.to(b.dtype) @ b)


def _sigmoid_(x: Tensor, one: Tensor) -> None:
    """Put the logistic function of ``x`` in its place; ``one`` is ones_like(x[:1, :1]).

    The gradient of softplus is the logistic function. On CPUs this kernel is up to five times
    faster than ``torch.sigmoid``'s, which can take as long as the matrix product of a step; their
    errors are alike.
    """
    torch.ops.aten.softplus_backward.grad_input(one, x, 1, 40, grad_input=x)


def _walk(rows: Sequence[Tensor], steps: int, back: bool) -> tuple[range, int]:
    """The frames in the order of the walk, and the offset from a frame to the row before it."""
    return (range(steps - 1, -1, -1), 2) if back else (range(steps), 0)


def _forward_after(gates: Tensor, weight: Tensor, rows: Sequence[Tensor], back: bool) -> None:
    H = rows[0].shape[1]
    U = torch.cat([weight[2 * H :], weight[: 2 * H]]).t()  # as the buffer: candidate, r, z
    one = gates.new_ones(1, 1)
    products, rz = gates[..., : 3 * H].unbind(0), gates[..., H : 3 * H].unbind(0)
    m, r, z, c = (block.unbind(0) for block in gates.chunk(4, dim=2))
    frames, before = _walk(rows, len(m), back)
    for t in frames:
        h = rows[t + before]
        _add_product(products[t], h, U)
        _sigmoid_(rz[t], one)
        c[t].addcmul_(r[t], m[t]).tanh_()
        torch.lerp(h, c[t], z[t], out=rows[t + 1])


def _forward_before(gates: Tensor, weight: Tensor, rows: Sequence[Tensor], back: bool) -> None:
    H = rows[0].shape[1]
    U_rz, U_c = weight[: 2 * H].t(), weight[2 * H :].t()
    one = gates.new_ones(1, 1)
    rz = gates[..., : 2 * H].unbind(0)
    r, z, c = (block.unbind(0) for block in gates.chunk(3, dim=2))
    reset_state = torch.empty_like(rows[0], memory_format=torch.contiguous_format)
    frames, before = _walk(rows, len(r), back)
    for t in frames:
        h = rows[t + before]
        _add_product(rz[t], h, U_rz)
        _sigmoid_(rz[t], one)
        torch.mul(r[t], h, out=reset_state)
        _add_product(c[t], reset_state, U_c)
        c[t].tanh_()
        torch.lerp(h, c[t], z[t], out=rows[t + 1])


def backward(
    grad: Tensor,
    x: Tensor,
    states: Tensor,
    gates: Tensor,
    weights: Weights,
    *,
    after: bool,
    back: bool,
) -> Gradients:
    """Run one direction backward over all frames.

    Args:
        grad: (T + 1, B, H), gradient of each frame's output, zero beyond the lengths, that of the
            final state added at the last frame walked; one more row of zeros stands before the
            first frame walked (row 0, or T with ``back``). Overwritten.
        x: input (T, B, F) of ``forward``.
        states: (T + 2, B, H), as ``forward`` left it.
        gates: what ``forward`` returned.
        weights: as in ``forward``.
        after: as in ``forward``.
        back: as in ``forward``.

    Returns:
        The gradients of weights, input and initial state.
    """
    T, H = x.shape[0], states.shape[2]
    previous = states[2:] if back else states[:T]
    run = _backward_after if after else _backward_before
    factors, recurrent_input = run(grad, gates, previous, weights.recurrent, back)
    dtype = x.dtype
    d_gates = factors.flatten(0, 1)
    d_inputs = d_gates[:, -3 * H :].to(dtype)
    d_recurrent = torch.empty_like(weights.recurrent)
    flat_previous = previous.flatten(0, 1).to(dtype)
    d_rz, d_product = d_inputs[:, : 2 * H], d_gates[:, :H] if after else d_inputs[:, 2 * H :]
    torch.mm(d_rz.t(), flat_previous, out=d_recurrent[: 2 * H])
    candidate_input = flat_previous if after else recurrent_input.flatten(0, 1).to(dtype)
    torch.mm(d_product.to(dtype).t(), candidate_input, out=d_recurrent[2 * H :])
    return Gradients(
        input=d_inputs.t() @ x.flatten(0, 1),
        recurrent=d_recurrent,
        bias=None if weights.bias is None else d_gates[:, -3 * H :].sum(0),
        bias_recurrent=None if weights.bias_recurrent is None else d_gates[:, :H].sum(0),
        x=(d_inputs @ weights.input).view(x.shape),
        state=grad[T if back else 0],
    )


def _backward_after(
    grad: Tensor, gates: Tensor, previous: Tensor, weight: Tensor, back: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of product, r, z, candidate before their functions (T, B, 4H).

    All of them are the gradient of the state times a factor known beforehand.
    """
    T, B, H = previous.shape
    m, r, z, c = gates.chunk(4, dim=2)
    factors = torch.empty_like(gates)
    f_m, f_r, f_z, f_c = factors.chunk(4, dim=2)
    _tanh_backward(z, c, f_c)
    torch.mul(f_c, r, out=f_m)
    _sigmoid_backward(f_c * m, r, f_r)
    _sigmoid_backward(c - previous, z, f_z)
    keep = (1 - z).unbind(0)
    U = torch.cat([weight[2 * H :], weight[: 2 * H]])
    products = factors[..., : 3 * H].unbind(0)
    blocks, rows, wide = factors.view(T, B, 4, H).unbind(0), grad.unbind(0), grad.unsqueeze(2)
    wide_rows = wide.unbind(0)
    for t in range(T) if back else range(T - 1, -1, -1):
        here, before = (t, t + 1) if back else (t + 1, t)
        blocks[t].mul_(wide_rows[here])
        rows[before].addcmul_(rows[here], keep[t])
        _add_product(rows[before], products[t], U)
    return factors, previous


def _backward_before(
    grad: Tensor, gates: Tensor, previous: Tensor, weight: Tensor, back: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of r, z, candidate before their functions (T, B, 3H), and r ∘ h (T, B, H)."""
    T, B, H = previous.shape
    r, z, c = gates.chunk(3, dim=2)
    factors = torch.empty_like(gates)
    f_r, f_z, f_c = factors.chunk(3, dim=2)
    _tanh_backward(z, c, f_c)
    _sigmoid_backward(previous, r, f_r)
    _sigmoid_backward(c - previous, z, f_z)
    keep, resets = (1 - z).unbind(0), r.unbind(0)
    U_rz, U_c = weight[: 2 * H], weight[2 * H :]
    d_reset_state = torch.empty_like(grad[0])
    products, d_r, d_c = factors[..., : 2 * H].unbind(0), f_r.unbind(0), f_c.unbind(0)
    blocks = factors.view(T, B, 3, H)[:, :, 1:].unbind(0)
    rows, wide_rows = grad.unbind(0), grad.unsqueeze(2).unbind(0)
    for t in range(T) if back else range(T - 1, -1, -1):
        here, before = (t, t + 1) if back else (t + 1, t)
        blocks[t].mul_(wide_rows[here])
        _product(d_c[t], U_c, d_reset_state)
        d_r[t].mul_(d_reset_state)
        rows[before].addcmul_(rows[here], keep[t]).addcmul_(d_reset_state, resets[t])
        _add_product(rows[before], products[t], U_rz)
    return factors, r * previous


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write ``a · b``, computed in the type of ``b``, into ``out``."""
    if a.dtype == b.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(a.to(b.dtype) @ b)


def _sigmoid_backward(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad ∘ y ∘ (1 − y)``."""
    torch.ops.aten.sigmoid_backward.grad_input(grad, y, grad_input=out)


def _tanh_backward(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad ∘ (1 − y²)``."""
    torch.ops.aten.tanh_backward.grad_input(grad, y, grad_input=out)
