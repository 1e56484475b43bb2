"""The parameters of one layer of the GRU, and the choice of how the layer is run."""

import math

import torch
from torch import Tensor, nn

from asr.gru.checkpoint import run_checkpointed
from asr.gru.export import gru_layer
from asr.gru.layer import run_layer
from asr.gru.recurrence import Weights


class GRULayer(nn.Module):
    """The parameters of one layer, its directions stacked, rows in the order r, z, candidate.

    ``gru_step`` says which symbol of the equations lies where.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        directions: int,
        reset: str,
        bias: bool,
        checkpoint_frames: int | None = None,
    ):
        super().__init__()
        D, H = directions, hidden_size
        self.weight_input = nn.Parameter(torch.empty(D, 3 * H, input_size))
        self.weight_recurrent = nn.Parameter(torch.empty(D, 3 * H, H))
        self.bias = nn.Parameter(torch.empty(D, 3 * H)) if bias else None
        self.bias_recurrent = nn.Parameter(torch.empty(D, H)) if bias and reset == "after" else None
        self.reset = reset
        self.hidden_size = hidden_size
        self.checkpoint_frames = checkpoint_frames

    def reset_parameters(self, orthogonal: bool, update_bias: float | None) -> None:
        """Draw the parameters anew; see ``GRU`` for the options."""
        H = self.hidden_size
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(H), 1 / math.sqrt(H))
        if orthogonal:
            for gate in self.weight_recurrent.detach().view(-1, H, H):
                nn.init.orthogonal_(gate)
        if update_bias is not None and self.bias is not None:
            self.bias.detach()[:, H : 2 * H].fill_(update_bias)

    def forward(
        self, x: Tensor, state: Tensor | None, padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run all directions over time-first input.

        Args:
            x: (T, B, F), finite beyond the lengths.
            state: initial states (directions, B, H), or None for zeros.
            padding: (T, B, 1), true beyond each sequence's length, or None.

        Returns:
            Output (T, B, directions * H), zero beyond the lengths, and final states
            (directions, B, H).
        """
        weights = Weights(self.weight_input, self.weight_recurrent, self.bias, self.bias_recurrent)
        after = self.reset == "after"
        if torch.compiler.is_exporting():
            exported: tuple[Tensor, Tensor] = gru_layer(x, state, padding, after, *weights)
            return exported
        device = x.device.type
        dtype = self.weight_recurrent.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            if self.checkpoint_frames is not None and torch.is_grad_enabled():
                return run_checkpointed(
                    x, state, padding, weights, after, dtype, self.checkpoint_frames
                )
            return run_layer(x, state, padding, weights, after, dtype)
