"""The recurrence of a whole layer, reset gate before the product, by the Triton kernels.

It does what ``asr.gru.recurrence`` does for one direction, and keeps the same tensors for the
backward pass; only the gradients of the gates are in the type of the products.

On an H200 (2026-11-27) it computes what ``recurrence`` does, "triton-walk" included, and training
three layers of 2 x 192 with it took 1.2 times as long as with cuDNN's other form. What ``plan``
chooses for wide layers is reasoned and not measured: they take two launches a step, unless
"triton-walk" is asked for, whose programs wait for each other and which should be faster.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asr.gru.recurrence import Gradients, Weights

ALONE_UNITS = 256
"""Up to so many hidden units a program has them all, and all steps are one launch."""


@dataclass(frozen=True)
class Plan:
    """How the work on a layer is divided."""

    rows: int
    """Sequences of a program."""
    units: int
    """Hidden units that a program computes at a time."""
    inner: int
    """Factors of a product that are loaded at a time."""
    warps: int
    """Groups of 32 threads of a program."""
    programs: int
    """Programs that share a direction and a block of the batch."""
    batch_blocks: int
    """Blocks that the batch is divided into."""
    walk: bool
    """Whether all steps are one launch; otherwise each phase of a step is one."""


def plan(
    batch: int, hidden: int, directions: int, itemsize: int, processors: int | None = None
) -> Plan:
    """Divide the work on a layer.

    Args:
        batch: sequences.
        hidden: hidden units of a direction.
        directions: 1 or 2.
        itemsize: bytes of a number in the products.
        processors: multiprocessors of the GPU, to walk all steps of a wide layer in one launch,
            at most one program on each; None: programs never wait for each other.
    """
    walk = hidden <= ALONE_UNITS or processors is not None
    rows, units = min(64, _power_of_two(batch)), 16
    if hidden <= ALONE_UNITS:
        rows, units = 16, min(64, _power_of_two(hidden))
    batch_blocks = -(-batch // rows)
    programs = -(-hidden // units)
    if hidden <= ALONE_UNITS:
        programs = 1
    elif processors is not None:
        most = max(1, processors // (directions * batch_blocks))
        while units < 64 and units * most < hidden:
            units *= 2
        programs = min(most, -(-hidden // units))
    large = rows * units > 2048
    inner = min((128 if large else 256) // itemsize, _power_of_two(hidden))
    warps = 8 if large else 4
    return Plan(rows, units, inner, warps, programs, batch_blocks, walk)


def processors_of(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 elsewhere, since Triton's interpreter runs program by program."""
    if device.type != "cuda":
        return 1
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


def _power_of_two(size: int) -> int:
    """The power of two not below ``size`` and 16, the least that a tensor core multiplies."""
    return max(16, 1 << (size - 1).bit_length())


def forward(
    x: Tensor, states: Tensor, weights: Weights, padding: Tensor | None, *, walk: bool
) -> Tensor:
    """Run all directions over all frames.

    Args:
        x: input (T, B, F), in the type of the products.
        states: (T + 2, B, D * H), the initial states in rows 0 and T + 1; the others are written.
        weights: of all directions, stacked, in the type of the products; biases in that of the
            states.
        padding: (T, B, 1), true beyond each sequence's length, or None.
        walk: whether wide layers too walk all their steps in one launch.

    Returns:
        r, z, candidate of each direction (T, B, D * 3H), which ``backward`` needs.
    """
    T, B, _ = x.shape
    D, rows, H = weights.recurrent.shape
    flat, W = x.flatten(0, 1), weights.input.flatten(0, 1).t()
    if weights.bias is not None and x.dtype == states.dtype:
        gates = torch.addmm(weights.bias.flatten(), flat, W)
    else:
        gates = (flat @ W).to(states.dtype)
        if weights.bias is not None:
            gates += weights.bias.flatten()
    low = states[0].to(x.dtype, copy=True)
    tensors = [gates, states, low, torch.empty_like(low)]
    _run("forward_kernel", tensors, weights.recurrent, padding, (T, B, D, H), T, T, walk)
    return gates.view(T, B, D * rows)


def backward(
    grad_output: Tensor,
    grad_final: Tensor,
    x: Tensor,
    states: Tensor,
    gates: Tensor,
    weights: Weights,
    padding: Tensor | None,
    *,
    walk: bool,
) -> Gradients:
    """Run all directions backward over all frames.

    Args:
        grad_output: (T, B, D * H); what stands beyond the lengths has no effect.
        grad_final: (D, B, H).
        x, states, weights, padding, walk: as for ``forward``.
        gates: what ``forward`` returned.

    Returns:
        The gradients of weights, input and initial states, those of the directions stacked.
    """
    T, B, _ = x.shape
    D, rows, H = weights.recurrent.shape
    d_gates = x.new_empty(T * B, D * rows)
    carry = grad_final.new_empty((B, D, H), dtype=torch.float32)
    carry.copy_(grad_final.transpose(0, 1))
    tensors = [d_gates, carry, grad_output.contiguous(), gates, states]
    _run("backward_kernel", tensors, weights.recurrent, padding, (T, B, D, H), T + 1, T, walk)
    recurrent = torch.empty_like(weights.recurrent)
    for d in range(D):
        side, d_side = slice(d * H, d * H + H), d_gates[:, d * rows : (d + 1) * rows]
        previous = states[2 * d : 2 * d + T, :, side]
        r = gates[..., d * rows : d * rows + H]
        flat_previous = previous.flatten(0, 1).to(x.dtype)
        reset_previous = (r * previous).flatten(0, 1).to(x.dtype)
        torch.mm(d_side[:, : 2 * H].t(), flat_previous, out=recurrent[d, : 2 * H])
        torch.mm(d_side[:, 2 * H :].t(), reset_previous, out=recurrent[d, 2 * H :])
    return Gradients(
        input=(d_gates.t() @ x.flatten(0, 1)).view(D, rows, -1),
        recurrent=recurrent,
        bias=None if weights.bias is None else d_gates.sum(0, dtype=torch.float32).view(D, rows),
        bias_recurrent=None,
        x=(d_gates @ weights.input.flatten(0, 1)).view(x.shape),
        state=carry.transpose(0, 1),
    )


def _run(
    name: str,
    tensors: list[Tensor],
    U: Tensor,
    padding: Tensor | None,
    sizes: tuple[int, int, int, int],
    first: int,
    second: int,
    walk: bool,
) -> None:
    """Run a kernel: ``first`` steps have the first phase, ``second`` of them the second one."""
    from asr.gru import kernels

    T, B, D, H = sizes
    work = plan(B, H, D, U.element_size(), processors_of(U.device) if walk else None)
    counters = torch.zeros(
        D * work.batch_blocks * kernels.COUNTER_STRIDE.value, dtype=torch.int32, device=U.device
    )
    mask = counters if padding is None else padding.contiguous().view(torch.uint8)
    exact = torch.get_float32_matmul_precision() == "highest"
    options: dict[str, Any] = {
        "D": D,
        "H": H,
        "PADDED": padding is not None,
        "ROWS": work.rows,
        "UNITS": work.units,
        "INNER": work.inner,
        "PRECISION": "ieee" if exact else "tf32",
        "num_warps": work.warps,
    }
    if work.walk and work.programs > 1:
        options["launch_cooperative_grid"] = True
    launch = getattr(kernels, name)[(D, work.batch_blocks, work.programs)]
    arguments = [*tensors, mask, U.contiguous(), counters]
    # Triton launches on the current device; -1 leaves it as it is.
    with torch.cuda.device(U.device.index if U.is_cuda else -1):
        if work.walk:
            launch(*arguments, 0, first, T, B, PHASES=kernels.WALK.value, **options)
            return
        for i in range(first):
            launch(*arguments, i, 1, T, B, PHASES=kernels.FIRST.value, **options)
            if i < second:
                launch(*arguments, i, 1, T, B, PHASES=kernels.SECOND.value, **options)
