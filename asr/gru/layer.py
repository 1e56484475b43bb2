"""One layer of the gated recurrent unit, all directions, with its hand-written gradient."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from asr.gru import cudnn, fused, recurrence, single
from asr.gru.backend import choose_backend
from asr.gru.recurrence import Gradients, Weights

R = TypeVar("R")

_pools: dict[int, ThreadPoolExecutor] = {}
# The threads of a pool do not survive a fork.
os.register_at_fork(after_in_child=_pools.clear)


def both_directions(tasks: Sequence[Callable[[], R]], device: torch.device) -> list[R]:
    """Run the directions of a layer, on the CPU each on its share of torch's threads.

    The steps of one direction wait for each other and are too small to be divided; the two
    directions are independent.
    """
    threads = torch.get_num_threads()
    if len(tasks) == 1 or threads == 1 or device.type != "cpu" or torch.compiler.is_compiling():
        return [task() for task in tasks]
    if len(tasks) not in _pools:
        _pools[len(tasks)] = ThreadPoolExecutor(len(tasks), "gru")
    share = max(1, threads // len(tasks))
    run = partial(_run_alone, share=share, inference=torch.is_inference_mode_enabled())
    try:
        return list(_pools[len(tasks)].map(run, tasks))
    finally:
        # What a thread sets for itself is also what threads started later begin with.
        torch.set_num_threads(threads)


def _run_alone(task: Callable[[], R], share: int, inference: bool) -> R:
    if torch.get_num_threads() != share:
        torch.set_num_threads(share)
    with torch.inference_mode(inference), torch.no_grad():
        return task()


def first_order_only() -> None:
    """Refuse to compute a gradient that is to have a gradient itself.

    Raises:
        RuntimeError: called in a backward pass under ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "The gradient of a GRU was asked for with create_graph=True, but its hand-written "
            "backward pass has no gradient of its own: write the steps with asr.gru.gru_step."
        )


class LayerFunction(torch.autograd.Function):
    """A layer over all frames; saves the input, the gates and the states, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        padding: Tensor | None,
        after: bool,
        product_dtype: torch.dtype,
        keep: bool,
        backend: str,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor]:
        T, B = x.shape[:2]
        given = Weights(*parameters)
        D, _, H = given.recurrent.shape
        x_product = x.to(product_dtype)
        states = given.recurrent.new_empty(T + 2, B, D * H)
        initial = 0 if state is None else state.transpose(0, 1).reshape(B, D * H)
        states[:: T + 1] = initial
        weights = _as_products(given, product_dtype)
        if backend == "torch":
            gates = _forward(x_product, states, weights, padding, after=after, keep=keep)
        else:
            walk = backend == "triton-walk"
            gates = [fused.forward(x_product, states, weights, padding, walk=walk)]
        final = torch.stack([states[1 if d else T, :, d * H : (d + 1) * H] for d in range(D)])
        output = states[1:-1]
        if padding is not None:
            # Only a given initial state is still needed where there is padding.
            output = (
                output.masked_fill_(padding, 0) if state is None else output.masked_fill(padding, 0)
            )
        if not keep:
            return output, final
        ctx.after, ctx.product_dtype, ctx.backend = after, product_dtype, backend
        ctx.has_state = state is not None
        ctx.save_for_backward(x, states, padding, *given, *gates)
        return output, final

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
        first_order_only()
        x, states, padding, *saved = ctx.saved_tensors
        parameters, gates = Weights(*saved[:4]), saved[4:]
        weights = _as_products(parameters, ctx.product_dtype)
        given = (grad_output, grad_final, x.to(ctx.product_dtype), states)
        with torch.autocast(x.device.type, enabled=False):
            if ctx.backend == "torch":
                found = _backward(*given, gates, weights, padding, after=ctx.after)
            else:
                walk = ctx.backend == "triton-walk"
                found = fused.backward(*given, gates[0], weights, padding, walk=walk)
        return (
            found.x.to(x.dtype),
            found.state if ctx.has_state else None,
            *(None,) * 5,
            found.input.to(parameters.input.dtype),
            found.recurrent.to(parameters.recurrent.dtype),
            found.bias,
            found.bias_recurrent,
        )


def _as_products(weights: Weights, dtype: torch.dtype) -> Weights:
    """Turn the matrices into the type of the products; the biases keep that of the states."""
    return weights._replace(input=weights.input.to(dtype), recurrent=weights.recurrent.to(dtype))


def _forward(
    x: Tensor, states: Tensor, weights: Weights, padding: Tensor | None, *, after: bool, keep: bool
) -> list[Tensor]:
    """Run each direction over all frames; see ``recurrence.forward``."""
    D = len(weights.recurrent)
    sides = states.chunk(D, dim=2)
    tasks = [
        partial(
            recurrence.forward,
            x,
            sides[d],
            weights.direction(d),
            padding,
            after=after,
            back=d > 0,
            keep=keep,
        )
        for d in range(D)
    ]
    return both_directions(tasks, x.device)


def _backward(
    grad_output: Tensor,
    grad_final: Tensor,
    x: Tensor,
    states: Tensor,
    gates: list[Tensor],
    weights: Weights,
    padding: Tensor | None,
    *,
    after: bool,
) -> Gradients:
    """Run each direction backward over all frames; the gradients of all are stacked."""
    T, B = x.shape[:2]
    D, _, H = weights.recurrent.shape
    sides = states.chunk(D, dim=2)

    def direction(d: int) -> Gradients:
        back = d > 0
        grad = states.new_zeros(T + 1, B, H)
        rows = grad[:-1] if back else grad[1:]
        rows.copy_(grad_output[..., d * H : (d + 1) * H])
        if padding is not None:
            rows.masked_fill_(padding, 0)
        grad[0 if back else -1] += grad_final[d]
        own = weights.direction(d)
        return recurrence.backward(grad, x, sides[d], gates[d], own, after=after, back=back)

    found = both_directions([partial(direction, d) for d in range(D)], x.device)
    return Gradients(
        torch.stack([side.input for side in found]),
        torch.stack([side.recurrent for side in found]),
        _stack([side.bias for side in found]),
        _stack([side.bias_recurrent for side in found]),
        found[0].x if D == 1 else found[0].x.add_(found[1].x),
        torch.stack([side.state for side in found]),
    )


def _stack(tensors: list[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if present else None


def run_layer(
    x: Tensor,
    state: Tensor | None,
    padding: Tensor | None,
    weights: Weights,
    after: bool,
    product_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Run all directions of a layer over all frames, differentiably.

    ``asr.gru.backend`` says by what.

    Args:
        x: (T, B, F), finite.
        state: initial states (D, B, H), or None for zeros.
        padding: (T, B, 1), true beyond each sequence's length, or None.
        weights: the parameters, their directions stacked in a first dimension D.
        after: whether the reset gate acts after the recurrent product.
        product_dtype: type that the matrix products are computed in; gates and states are in that
            of the parameters.

    Returns:
        Output (T, B, D * H), zero beyond the lengths, and final states (D, B, H).
    """
    backend = choose_backend(x, after, weights.recurrent.dtype, product_dtype)
    if backend == "cudnn":
        return cudnn.run_layer(x, state, padding, weights, product_dtype)
    if backend == "numpy":
        return single.run_layer(x, state, padding, weights, after)
    result: tuple[Tensor, Tensor] = LayerFunction.apply(  # type: ignore[no-untyped-call]  # torch
        x,
        state,
        padding,
        after,
        product_dtype,
        torch.is_grad_enabled(),
        backend,
        *weights,
    )
    return result
