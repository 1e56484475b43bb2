"""Triton kernels of the recurrence with the reset gate before the product, all directions at once.

Importing this file needs Triton; ``asr.gru.fused`` does so when it first uses it. A program works
on one direction (grid axis 0), one block of the batch (axis 1) and every so many blocks of hidden
units (axis 2 is the first of them).

A step has two phases, since r ∘ h must be whole before the candidate's product. A launch does one
phase of one step (``FIRST``, ``SECOND``), and the order of the launches is that of the phases; or
it does all steps (``WALK``). There the programs that share a direction and a block of the batch
meet after each phase, so all of them must be running at once: the launch must be a cooperative
one. A program that has all hidden units to itself meets nobody.

Tensors are contiguous: ``gates`` (T, B, D, 3, H), ``states`` (T + 2, B, D, H) as in ``recurrence``,
``low`` and ``reset_low`` (B, D, H), which are h and r ∘ h in the type of the products, ``padding``
(T, B), ``U`` (D, 3, H, H). Products add up in float32, gates and states are computed in float32.
``ROWS``, ``UNITS`` and ``INNER`` are the blocks of the batch, of hidden units and of a product.

The formatter is told to leave long lists of arguments alone: one a line hides the computation.
"""

# Triton compiles these functions; what it hands them has no types in Python.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]  # has no stubs
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]  # ditto

WALK, FIRST, SECOND = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
"""Values of ``PHASES``: all steps, or a phase of one step."""

COUNTER_STRIDE = tl.constexpr(32)
"""Counters lie this many int32 apart: no two share a line of the cache."""


@triton.jit
def _meet(counter, target):
    """Wait until all programs sharing ``counter`` are here; what they wrote is seen from then."""
    tl.debug_barrier()
    if tl.num_programs(2) > 1:
        tl.atomic_add(counter, 1, sem="release", scope="gpu")
        while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < target:
            pass
        tl.debug_barrier()


@triton.jit
def _left(a, stride, rows, inner, B, size):
    """a[row, k], the left side of a product, zero beyond the edges."""
    inside = (rows < B)[:, None] & (inner < size)[None, :]
    return tl.load(a + rows[:, None] * stride + inner[None, :], mask=inside, other=0.0)


@triton.jit
def _right(W, per_inner, per_unit, inner, units, size, H):
    """W[k, unit], the right side of a product, zero beyond the edges."""
    inside = (inner < size)[:, None] & (units < H)[None, :]
    at = W + inner[:, None] * per_inner + units[None, :] * per_unit
    return tl.load(at, mask=inside, other=0.0)


@triton.jit
def _get(pointers, inside):
    return tl.load(pointers, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _beyond(padding, rows, B):
    """Whether each row (ROWS, 1) is beyond its sequence's length."""
    return (tl.load(padding + rows, mask=rows < B, other=1) != 0)[:, None]


@triton.jit
def _forward_gates(
    gates, before, low, reset_low, padding, U, rows, block, B, D: tl.constexpr, H: tl.constexpr,
    PADDED: tl.constexpr, UNITS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """r = σ(U_r·h + a_r), z = σ(U_z·h + a_z) and r ∘ h of one frame."""
    for n in range(block, tl.cdiv(H, UNITS), tl.num_programs(2)):
        units = n * UNITS + tl.arange(0, UNITS)
        r = tl.zeros([rows.shape[0], UNITS], tl.float32)
        z = tl.zeros([rows.shape[0], UNITS], tl.float32)
        for k in range(0, H, INNER):
            inner = k + tl.arange(0, INNER)
            h = _left(low, D * H, rows, inner, B, H)
            U_r = _right(U, 1, H, inner, units, H, H)
            U_z = _right(U + H * H, 1, H, inner, units, H, H)
            r = tl.dot(h, U_r, r, input_precision=PRECISION)
            z = tl.dot(h, U_z, z, input_precision=PRECISION)
        inside = (rows < B)[:, None] & (units < H)[None, :]
        at = gates + rows[:, None] * (D * 3 * H) + units[None, :]
        own = rows[:, None] * (D * H) + units[None, :]
        r = tl.sigmoid(r + _get(at, inside))
        z = tl.sigmoid(z + _get(at + H, inside))
        if PADDED:
            z = tl.where(_beyond(padding, rows, B), 0.0, z)
        tl.store(at, r, mask=inside)
        tl.store(at + H, z, mask=inside)
        tl.store(reset_low + own, r * _get(before + own, inside), mask=inside)


@triton.jit
def _forward_state(
    gates, before, behind, low, reset_low, U_c, rows, block, B, D: tl.constexpr, H: tl.constexpr,
    UNITS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """c = tanh(U_c·(r ∘ h) + a_c) and the next state (1 − z) ∘ h + z ∘ c of one frame."""
    for n in range(block, tl.cdiv(H, UNITS), tl.num_programs(2)):
        units = n * UNITS + tl.arange(0, UNITS)
        c = tl.zeros([rows.shape[0], UNITS], tl.float32)
        for k in range(0, H, INNER):
            inner = k + tl.arange(0, INNER)
            reset_h = _left(reset_low, D * H, rows, inner, B, H)
            weights = _right(U_c, 1, H, inner, units, H, H)
            c = tl.dot(reset_h, weights, c, input_precision=PRECISION)
        inside = (rows < B)[:, None] & (units < H)[None, :]
        at = gates + rows[:, None] * (D * 3 * H) + units[None, :]
        own = rows[:, None] * (D * H) + units[None, :]
        c = 2 * tl.sigmoid(2 * (c + _get(at + 2 * H, inside))) - 1  # tanh
        z = _get(at + H, inside)
        h = (1 - z) * _get(before + own, inside) + z * c
        tl.store(at + 2 * H, c, mask=inside)
        tl.store(behind + own, h, mask=inside)
        tl.store(low + own, h, mask=inside)


@triton.jit(do_not_specialize=["step", "steps", "T", "B"])
def forward_kernel(
    gates, states, low, reset_low, padding, U, counters, step, steps, T, B, D: tl.constexpr,
    H: tl.constexpr, PHASES: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr,
    UNITS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take ``steps`` steps of the walk from number ``step`` on.

    ``gates`` hold x·W + b of r, z, c and are overwritten by r, z, c; the initial state stands in
    ``states`` and ``low``.
    """
    d = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    block = tl.program_id(2)
    counter = counters + (d * tl.num_programs(1) + tl.program_id(1)) * COUNTER_STRIDE
    low += d * H
    reset_low += d * H
    U += d * 3 * H * H
    met = 0
    for i in range(step, step + steps):
        t = tl.where(d == 0, i, T - 1 - i).to(tl.int64)
        own = gates + t * B * (D * 3 * H) + d * 3 * H
        # Frame t ends in row t + 1; the forward direction comes from row t, the other from t + 2.
        before = states + (t + 2 * d) * B * (D * H) + d * H
        behind = states + (t + 1) * B * (D * H) + d * H
        if PHASES != SECOND:
            _forward_gates(
                own, before, low, reset_low, padding + t * B, U, rows, block, B, D, H,
                PADDED, UNITS, INNER, PRECISION,
            )  # fmt: skip
        if PHASES == WALK:
            met += tl.num_programs(2)
            _meet(counter, met)
        if PHASES != FIRST:
            _forward_state(
                own, before, behind, low, reset_low, U + 2 * H * H, rows, block, B, D, H,
                UNITS, INNER, PRECISION,
            )  # fmt: skip
        if PHASES == WALK:
            met += tl.num_programs(2)
            _meet(counter, met)


@triton.jit
def _through_gates(
    grad, d_later, U, rows, units, B, D: tl.constexpr, H: tl.constexpr, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of a state what comes through r and z of the frame that starts in it."""
    # They follow each other in both factors: one product over 2H.
    for k in range(0, 2 * H, INNER):
        inner = k + tl.arange(0, INNER)
        d_rz = _left(d_later, D * 3 * H, rows, inner, B, 2 * H)
        weights = _right(U, H, 1, inner, units, 2 * H, H)
        grad = tl.dot(d_rz, weights, grad, input_precision=PRECISION)
    return grad


@triton.jit
def _before_the_functions(
    grad, d_gates, gates, before, rows, units, B, D: tl.constexpr, H: tl.constexpr
):
    """Store what z and c get, before their functions, of the gradient of a frame's state."""
    inside = (rows < B)[:, None] & (units < H)[None, :]
    at = rows[:, None] * (D * 3 * H) + units[None, :]
    h = _get(before + rows[:, None] * (D * H) + units[None, :], inside)
    z, c = _get(gates + at + H, inside), _get(gates + at + 2 * H, inside)
    tl.store(d_gates + at + H, grad * (c - h) * z * (1 - z), mask=inside)
    tl.store(d_gates + at + 2 * H, grad * z * (1 - c * c), mask=inside)


@triton.jit
def _backward_state(
    carry, d_later, d_gates, grad_output, gates, before, padding, U, rows, block, ends, begins, B,
    D: tl.constexpr, H: tl.constexpr, PADDED: tl.constexpr, UNITS: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """End the later frame, begin this one: the gradient of the state between them, of z and c."""
    for n in range(block, tl.cdiv(H, UNITS), tl.num_programs(2)):
        units = n * UNITS + tl.arange(0, UNITS)
        inside = (rows < B)[:, None] & (units < H)[None, :]
        own = rows[:, None] * (D * H) + units[None, :]
        grad = _get(carry + own, inside)
        if ends:
            grad = _through_gates(grad, d_later, U, rows, units, B, D, H, INNER, PRECISION)
        if begins:
            of_output = _get(grad_output + own, inside)
            if PADDED:
                of_output = tl.where(_beyond(padding, rows, B), 0.0, of_output)
            grad += of_output
            _before_the_functions(grad, d_gates, gates, before, rows, units, B, D, H)
        tl.store(carry + own, grad, mask=inside)


@triton.jit
def _backward_reset(
    carry, d_gates, gates, before, U_c, rows, block, B, D: tl.constexpr, H: tl.constexpr,
    UNITS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of r ∘ h; store what r gets of it, and carry on what the state gets."""
    for n in range(block, tl.cdiv(H, UNITS), tl.num_programs(2)):
        units = n * UNITS + tl.arange(0, UNITS)
        d_reset_h = tl.zeros([rows.shape[0], UNITS], tl.float32)
        for k in range(0, H, INNER):
            inner = k + tl.arange(0, INNER)
            d_c = _left(d_gates + 2 * H, D * 3 * H, rows, inner, B, H)
            weights = _right(U_c, H, 1, inner, units, H, H)
            d_reset_h = tl.dot(d_c, weights, d_reset_h, input_precision=PRECISION)
        inside = (rows < B)[:, None] & (units < H)[None, :]
        own = rows[:, None] * (D * H) + units[None, :]
        at = rows[:, None] * (D * 3 * H) + units[None, :]
        r, z = _get(gates + at, inside), _get(gates + at + H, inside)
        d_r = d_reset_h * _get(before + own, inside) * r * (1 - r)
        carried = _get(carry + own, inside) * (1 - z) + d_reset_h * r
        tl.store(d_gates + at, d_r, mask=inside)
        tl.store(carry + own, carried, mask=inside)


@triton.jit(do_not_specialize=["step", "steps", "T", "B"])
def backward_kernel(
    d_gates, carry, grad_output, gates, states, padding, U, counters, step, steps, T, B,
    D: tl.constexpr, H: tl.constexpr, PHASES: tl.constexpr, PADDED: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take ``steps`` steps against the walk from number ``step`` on, of T + 1 in all.

    The first phase of step i ends the frame of step i - 1 and begins that of step i, the second one
    goes on with it; step T has nothing to begin. ``grad_output`` is (T, B, D, H); ``carry``
    (B, D, H), float32, holds the gradient of the final state and in the end that of the initial
    one; ``d_gates`` (T, B, D, 3, H) becomes the gradient of r, z, c before their functions, in the
    type of the products.
    """
    d = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    block = tl.program_id(2)
    counter = counters + (d * tl.num_programs(1) + tl.program_id(1)) * COUNTER_STRIDE
    carry += d * H
    U += d * 3 * H * H
    met = 0
    for i in range(step, step + steps):
        t = tl.where(d == 0, T - 1 - i, i).to(tl.int64)
        own = t * B * (D * 3 * H) + d * 3 * H
        later = (t + 1 - 2 * d) * B * (D * 3 * H) + d * 3 * H
        before = states + (t + 2 * d) * B * (D * H) + d * H
        if PHASES != SECOND:
            _backward_state(
                carry, d_gates + later, d_gates + own, grad_output + t * B * (D * H) + d * H,
                gates + own, before, padding + t * B, U, rows, block, i > 0, i < T, B, D, H,
                PADDED, UNITS, INNER, PRECISION,
            )  # fmt: skip
        if PHASES == WALK:
            met += tl.num_programs(2)
            _meet(counter, met)
        if PHASES != FIRST and i < T:
            _backward_reset(
                carry, d_gates + own, gates + own, before, U + 2 * H * H, rows, block, B, D, H,
                UNITS, INNER, PRECISION,
            )  # fmt: skip
        if PHASES == WALK:
            met += tl.num_programs(2)
            _meet(counter, met)
