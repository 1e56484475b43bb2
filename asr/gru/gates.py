"""The gates of a GRU layer, frame by frame, for a person to look at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.gru.parameters import GRULayer


@dataclass(frozen=True)
class Gates:
    """What one direction of a layer did, time first as within the layer, zero beyond the lengths.

    Attributes:
        update: z ``(T, B, H)``; 0 keeps the old state, 1 takes the candidate.
        reset: r ``(T, B, H)``; 0 hides the old state from the candidate.
        candidate: h' ``(T, B, H)``.
        state: h ``(T, B, H)`` after each frame; the backward direction reads a frame after the
            one that follows it.
    """

    update: Tensor
    reset: Tensor
    candidate: Tensor
    state: Tensor


@torch.no_grad()
def gru_gates(
    layer: GRULayer,
    x: Tensor,
    output: Tensor,
    state: Tensor | None = None,
    padding: Tensor | None = None,
) -> tuple[Gates, ...]:
    """Compute the gates that led a layer from its input to its output.

    The gates of a frame follow from its input and the state before it. All states are known once
    the layer has run, so no frame has to wait for another.

    Args:
        layer: the layer.
        x: its input ``(T, B, F)``, finite beyond the lengths.
        output: what it returned, ``(T, B, directions * H)``.
        state: its initial states ``(directions, B, H)``, or None for zeros.
        padding: ``(T, B, 1)``, true beyond each sequence's length, or None.

    Returns:
        The gates of each direction, forward before backward.

    Source: the equations of ``asr.gru.gru_step``.
    """
    sides = output.chunk(len(layer.weight_recurrent), dim=2)
    initial = torch.zeros_like(sides[0][:1]) if state is None else None
    found = []
    for d, states in enumerate(sides):
        start = initial if state is None else state[d : d + 1]
        assert start is not None
        previous = torch.cat([states[1:], start] if d else [start, states])[: len(states)]
        if d and padding is not None:
            # The frame behind a sequence's last one is padding; its walk starts there.
            last = torch.cat([padding[1:], torch.ones_like(padding[:1])])
            previous = torch.where(last, start, previous)
        update, reset, candidate = _gates(layer, d, x, previous)
        if padding is not None:
            # The states there are zero already.
            for gate in (update, reset, candidate):
                gate.masked_fill_(padding, 0)
        found.append(Gates(update, reset, candidate, states))
    return tuple(found)


def _gates(layer: GRULayer, d: int, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute z, r and the candidate of direction ``d`` from the state before each frame."""
    H = layer.hidden_size
    W, U = layer.weight_input[d], layer.weight_recurrent[d]
    inputs = x.to(W.dtype) @ W.T
    if layer.bias is not None:
        inputs = inputs + layer.bias[d]
    r, z = torch.sigmoid(inputs[..., : 2 * H] + previous @ U[: 2 * H].T).chunk(2, dim=2)
    if layer.reset == "before":
        recurrent = (r * previous) @ U[2 * H :].T
    else:
        recurrent = previous @ U[2 * H :].T
        if layer.bias_recurrent is not None:
            recurrent = recurrent + layer.bias_recurrent[d]
        recurrent = r * recurrent
    return z, r, torch.tanh(inputs[..., 2 * H :] + recurrent)
