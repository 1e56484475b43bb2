"""One layer's parameters in the layout of torch.nn.GRU, and back.

``torch.nn.GRU`` resets after the product and orders its rows as here, but its update gate is one
minus ours: since σ(−a) = 1 − σ(a), the rows of that gate change their sign.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def _swap_update_gate(rows: Tensor) -> Tensor:
    r, z, candidate = rows.chunk(3)
    return torch.cat([r, -z, candidate])


def _suffixes(layer: int, directions: int) -> list[str]:
    return [f"l{layer}", f"l{layer}_reverse"][:directions]


def from_torch(state: Mapping[str, Tensor], layer: int, directions: int) -> dict[str, Tensor]:
    """Read the parameters of one layer out of a torch.nn.GRU.

    Args:
        state: ``state_dict()`` of the torch.nn.GRU.
        layer: number of the layer, from 0.
        directions: 1 or 2.

    Returns:
        ``weight_input``, ``weight_recurrent`` and, if there are biases, ``bias`` and
        ``bias_recurrent``, as ``GRULayer`` names them.
    """
    found: dict[str, list[Tensor]] = {}
    for suffix in _suffixes(layer, directions):
        for ours, theirs in (("weight_input", "weight_ih"), ("weight_recurrent", "weight_hh")):
            rows = state[f"{theirs}_{suffix}"]
            found.setdefault(ours, []).append(_swap_update_gate(rows))
        if f"bias_ih_{suffix}" in state:
            of_input, of_state = state[f"bias_ih_{suffix}"], state[f"bias_hh_{suffix}"]
            H = len(of_input) // 3
            # Those of r and z are only ever added to each other.
            bias = torch.cat([of_input[: 2 * H] + of_state[: 2 * H], of_input[2 * H :]])
            found.setdefault("bias", []).append(_swap_update_gate(bias))
            found.setdefault("bias_recurrent", []).append(of_state[2 * H :])
    return {name: torch.stack(values) for name, values in found.items()}


def to_torch(parameters: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    """Name and order the parameters of one layer as a torch.nn.GRU does.

    Args:
        parameters: ``state_dict()`` of a ``GRULayer`` with ``reset="after"``.
        layer: number of the layer, from 0.

    Returns:
        Part of the ``state_dict()`` of the torch.nn.GRU.
    """
    found = {}
    for d, suffix in enumerate(_suffixes(layer, len(parameters["weight_input"]))):
        found[f"weight_ih_{suffix}"] = _swap_update_gate(parameters["weight_input"][d])
        found[f"weight_hh_{suffix}"] = _swap_update_gate(parameters["weight_recurrent"][d])
        if "bias" in parameters:
            candidate = parameters["bias_recurrent"][d]
            found[f"bias_ih_{suffix}"] = _swap_update_gate(parameters["bias"][d])
            found[f"bias_hh_{suffix}"] = torch.cat(
                [candidate.new_zeros(2 * len(candidate)), candidate]
            )
    return found
