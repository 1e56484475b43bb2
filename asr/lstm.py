"""The encoder with an LSTM in the place of the GRU, to compare the two."""

import torch
from torch import Tensor, nn

from asr.encoder import Encoder, ResidualLayer, Subsampling
from asr.gru.cudnn import in_one_buffer, with_lengths
from asr.padding import length_mask


class LSTM(nn.LSTM):
    """One layer of torch.nn.LSTM over sequences of unequal length, batch first.

    The backward direction starts at each sequence's own last frame. As in ``asr.gru.cudnn`` the
    sequences are not packed, which is slow: one more column of the input is 1 beyond a sequence's
    length and closes the input gate there. So cells that start at zero stay there, and no gradient
    passes. The recurrent matrix of each gate starts orthogonal (Saxe et al. 2013), the bias of the
    forget gate at 1 (Jozefowicz et al. 2015).

    Args:
        input_size: features F of a frame.
        hidden_size: hidden units H of a direction.
        bidirectional: whether a second direction runs from the last frame to the first.
    """

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__(input_size, hidden_size, bidirectional=bidirectional)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        super().reset_parameters()
        H = self.hidden_size
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.detach().view(4, H, H):
                    nn.init.orthogonal_(gate)
            elif name.startswith("bias"):
                # The rows are those of i, f, g, o; both biases are only ever added.
                parameter.detach()[H : 2 * H] = 1.0 if "_ih_" in name else 0.0

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(B, T, F)``, finite beyond the lengths, to ``(B, T, directions * H)``, zero there.

        Under ``torch.autocast`` everything is computed in the lower precision.
        """
        directions = 2 if self.bidirectional else 1
        B, T, _ = x.shape
        if not x.numel():
            return x.new_zeros(B, T, directions * self.hidden_size)
        device, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            padding = ~length_mask(lengths, T).t().unsqueeze(2)
            columns, parameters = self._with_lengths(x.transpose(0, 1).to(dtype), padding)
            zeros = columns.new_zeros(directions, B, self.hidden_size)
            output, _, _ = torch.lstm(
                columns,
                (zeros, zeros),
                in_one_buffer(parameters, dtype),
                self.bias,
                self.num_layers,
                self.dropout,
                torch.is_grad_enabled(),
                self.bidirectional,
                False,
            )
            output = output.to(x.dtype).masked_fill(padding, 0)
        return output.transpose(0, 1)

    def _with_lengths(self, x: Tensor, padding: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Append the column that tells the lengths, and its weights."""
        named: dict[str, Tensor] = dict(self.named_parameters())
        names = [name for name in named if name.startswith("weight_ih")]
        matrices = torch.stack([named[name] for name in names])
        x, matrices = with_lengths(x, padding, matrices, slice(0, self.hidden_size))
        return x, named | dict(zip(names, matrices, strict=True))


class ResidualLSTM(ResidualLayer):
    """A layer of an ``LSTMEncoder``, whose arguments it takes."""

    def __init__(self, width: int, bidirectional: bool, dropout: float) -> None:
        super().__init__(width, bidirectional, dropout)
        self.lstm = LSTM(width, self.units, bidirectional)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(B, U, D)`` to ``(B, U, D)``."""
        added: Tensor = self.dropout(self.lstm(self.norm(hidden), lengths))
        return hidden + added


class LSTMEncoder(Encoder):
    """Subsampling and a stack of residual, bidirectional LSTM layers.

    Args:
        n_mels: as for ``GRUEncoder``, like all the others.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """

    def __init__(
        self,
        n_mels: int,
        layers: int = 3,
        width: int = 336,
        subsampling: int = 4,
        channels: int = 32,
        kernel: tuple[int, int] = (3, 3),
        bidirectional: bool = True,
        dropout: float = 0.1,
    ) -> None:
        def layer() -> ResidualLSTM:
            return ResidualLSTM(width, bidirectional, dropout)

        front = Subsampling(n_mels, width, subsampling, channels, kernel)
        super().__init__(front, layers, layer, bidirectional, dropout)
