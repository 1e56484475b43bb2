"""The four equations of the gated recurrent unit, one step, exactly as they are written."""

import torch
from torch import Tensor

RESETS = ("before", "after")


def gru_step(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reset: str = "before",
    bias_recurrent: Tensor | None = None,
) -> Tensor:
    """Take one step of a gated recurrent unit.

    With ``[h, x]`` the concatenation, ``∘`` the product by elements and σ the logistic function::

        r_t  = σ(W_r·[h_{t-1}, x_t] + b_r)
        z_t  = σ(W_z·[h_{t-1}, x_t] + b_z)
        h'_t = tanh(W·[r_t ∘ h_{t-1}, x_t] + b)
        h_t  = (1 − z_t) ∘ h_{t-1} + z_t ∘ h'_t

    z = 1 takes the new, z = 0 keeps the old. That is ``reset="before"``, the reset gate acting
    before the recurrent product. ``reset="after"`` lets it act on the product instead, which is
    what cuDNN and ``torch.nn.GRU`` compute (there with 1 − z in the place of z). With U and V the
    left (state) and right (input) columns of W::

        h'_t = tanh(r_t ∘ (U·h_{t-1} + b_u) + V·x_t + b)

    Where each symbol lies in ``weight``, and in the parameters of ``asr.gru.GRU`` for one layer
    and direction ``d`` (H hidden units, F input features):

    ========  ====================  ==========================  =======================
    symbol    here                  state columns in the module  input columns
    ========  ====================  ==========================  =======================
    W_r       weight[0:H]           weight_recurrent[d, 0:H]    weight_input[d, 0:H]
    W_z       weight[H:2H]          weight_recurrent[d, H:2H]   weight_input[d, H:2H]
    W         weight[2H:3H]         weight_recurrent[d, 2H:3H]  weight_input[d, 2H:3H]
    b_r       bias[0:H]             bias[d, 0:H]
    b_z       bias[H:2H]            bias[d, H:2H]
    b         bias[2H:3H]           bias[d, 2H:3H]
    b_u       bias_recurrent        bias_recurrent[d]
    ========  ====================  ==========================  =======================

    so that ``weight = torch.cat([weight_recurrent[d], weight_input[d]], dim=1)``.

    Args:
        x: input (B, F).
        h: state (B, H).
        weight: (3H, H + F), rows r, z, candidate; columns state, input.
        bias: (3H,), or None for none.
        reset: "before" or "after".
        bias_recurrent: b_u (H,), only with ``reset="after"``.

    Returns:
        The next state (B, H).

    Raises:
        ValueError: ``reset`` is neither "before" nor "after".

    Source: Cho et al. 2014, arXiv 1406.1078, equations 5 to 8 (there with z and 1 − z swapped);
    ``reset="after"``: the cuDNN developer guide.
    """
    if reset not in RESETS:
        raise ValueError(f'reset is {reset!r}; expected one of {RESETS}: pass reset="before".')
    H = h.shape[1]
    W_r, W_z, W = weight.chunk(3)
    b_r, b_z, b = (weight.new_zeros(3 * H) if bias is None else bias).chunk(3)
    b_u = weight.new_zeros(H) if bias_recurrent is None else bias_recurrent
    hx = torch.cat([h, x], dim=1)
    r = torch.sigmoid(hx @ W_r.T + b_r)
    z = torch.sigmoid(hx @ W_z.T + b_z)
    if reset == "before":
        candidate = torch.tanh(torch.cat([r * h, x], dim=1) @ W.T + b)
    else:
        U, V = W[:, :H], W[:, H:]
        candidate = torch.tanh(r * (h @ U.T + b_u) + x @ V.T + b)
    return (1 - z) * h + z * candidate
