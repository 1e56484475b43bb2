"""A layer over a long sequence in little memory: gates are computed again in the backward pass."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asr.gru.layer import both_directions, first_order_only, run_layer
from asr.gru.recurrence import Weights

Parameters = list[Tensor | None]
"""The fields of ``Weights`` of one direction, or their gradients."""


class CheckpointFunction(torch.autograd.Function):
    """A layer over all frames; saves the input and the states at the borders of segments."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor | None,
        padding: Tensor | None,
        after: bool,
        product_dtype: torch.dtype,
        frames: int,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor]:
        weights = Weights(*parameters)
        output, final = run_layer(x, state, padding, weights, after, product_dtype)
        borders = _borders(output, state, padding, len(weights.input), frames)
        ctx.after, ctx.product_dtype, ctx.frames = after, product_dtype, frames
        ctx.save_for_backward(x, state, padding, *parameters, *borders)
        return output, final

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
        first_order_only()
        x, state, padding, *parameters = ctx.saved_tensors[:7]
        borders = ctx.saved_tensors[7:]
        tasks = []
        for d, grad in enumerate(grad_output.chunk(len(borders), dim=2)):
            walk = Walk(
                x,
                padding,
                None if state is None else state[d],
                borders[d],
                [None if p is None else p[d : d + 1] for p in parameters],
                ctx.after,
                ctx.product_dtype,
                ctx.frames,
                back=d > 0,
            )
            tasks.append(partial(walk.gradients, grad, grad_final[d]))
        with torch.autocast(x.device.type, enabled=False):
            found = both_directions(tasks, x.device)
        grad_x = found[0][0] if len(found) == 1 else found[0][0].add_(found[1][0])
        grad_state = None if state is None else torch.stack([side[1] for side in found])
        stacked: Parameters = []
        for i in range(len(parameters)):
            sides = [own for side in found if (own := side[2][i]) is not None]
            stacked.append(torch.cat(sides) if sides else None)
        return grad_x, grad_state, None, None, None, None, *stacked


def _borders(
    output: Tensor, state: Tensor | None, padding: Tensor | None, directions: int, frames: int
) -> list[Tensor]:
    """Copy each direction's states before its segments but the first it walks (segments - 1, B, H).

    Beyond the lengths the output is zero. There the backward direction still has its initial
    state, and the forward one has done with the sequence.
    """
    borders = []
    for d, side in enumerate(output.chunk(directions, dim=2)):
        # The forward direction enters a segment from the frame before it, the other from behind.
        first = frames if d else frames - 1
        stop = None if d else len(output) - 1
        rows = side[first:stop:frames].clone()
        if state is not None and padding is not None:
            rows = torch.where(padding[first:stop:frames], state[d], rows)
        borders.append(rows)
    return borders


@dataclass(frozen=True)
class Walk:
    """One direction over all segments, to be walked backward."""

    x: Tensor
    padding: Tensor | None
    initial: Tensor | None
    borders: Tensor
    parameters: Parameters
    after: bool
    product_dtype: torch.dtype
    frames: int
    back: bool

    def gradients(self, grad: Tensor, grad_state: Tensor) -> tuple[Tensor, Tensor, Parameters]:
        """Compute all gradients from those of the output (T, B, H) and the final state (B, H).

        Returns:
            The gradients of the input (T, B, F), of the initial state (B, H) and of the parameters.
        """
        sums = [None if p is None else torch.zeros_like(p) for p in self.parameters]
        grad_x = torch.empty_like(self.x)
        count = len(self.borders) + 1
        for k in range(count) if self.back else range(count - 1, -1, -1):
            part = slice(k * self.frames, (k + 1) * self.frames)
            found_x, grad_state, found = self._segment(k, part, grad[part], grad_state)
            grad_x[part] = found_x
            for total, value in zip(sums, found, strict=True):
                if total is not None and value is not None:
                    total += value
        return grad_x, grad_state, sums

    def _segment(
        self, k: int, part: slice, grad: Tensor, grad_state: Tensor
    ) -> tuple[Tensor, Tensor, Parameters]:
        """Compute a segment again, and its gradients."""
        border = k if self.back else k - 1
        h = self.borders[border] if 0 <= border < len(self.borders) else self.initial
        h = torch.zeros_like(grad_state) if h is None else h
        # Read from its end, a segment of the backward direction is one of the forward one.
        x = self._turn(self.x[part]).detach().requires_grad_()
        h = h[None].detach().requires_grad_()
        padding = None if self.padding is None else self._turn(self.padding[part])
        own: list[Any] = [
            None if p is None else p.detach().requires_grad_() for p in self.parameters
        ]
        with torch.enable_grad():
            outputs = run_layer(x, h, padding, Weights(*own), self.after, self.product_dtype)
        wanted = [x, h, *(p for p in own if p is not None)]
        grads = torch.autograd.grad(outputs, wanted, (self._turn(grad), grad_state[None]))
        rest = iter(grads[2:])
        found = [None if p is None else next(rest) for p in own]
        return self._turn(grads[0]), grads[1][0], found

    def _turn(self, rows: Tensor) -> Tensor:
        return rows.flip(0) if self.back else rows


def run_checkpointed(
    x: Tensor,
    state: Tensor | None,
    padding: Tensor | None,
    weights: Weights,
    after: bool,
    product_dtype: torch.dtype,
    frames: int,
) -> tuple[Tensor, Tensor]:
    """Run a layer as ``run_layer`` does, its gates computed again in the backward pass.

    Between the passes only the input is kept, and for each direction the state at every border
    of segments; the backward pass holds the gates of one segment and direction at a time. It takes
    about the time of one more forward pass.

    Args:
        x, state, padding, weights, after, product_dtype: as for ``run_layer``.
        frames: frames of a segment.

    Returns:
        Output (T, B, D * H), zero beyond the lengths, and final states (D, B, H).

    Source: Chen et al. 2016, arXiv 1604.06174.
    """
    result: tuple[Tensor, Tensor] = CheckpointFunction.apply(  # type: ignore[no-untyped-call]  # torch
        x,
        state,
        padding,
        after,
        product_dtype,
        frames,
        *weights,
    )
    return result
