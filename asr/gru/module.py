"""The GRU module: stacked layers, one or both directions, lengths, state."""

import math

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.gru import convert
from asr.gru.layer import run_layer
from asr.gru.reference import RESETS


class GRULayer(nn.Module):
    """The parameters of one layer, its directions stacked, rows in the order r, z, candidate.

    ``gru_step`` says which symbol of the equations lies where.
    """

    def __init__(self, input_size: int, hidden_size: int, directions: int, reset: str, bias: bool):
        super().__init__()
        D, H = directions, hidden_size
        self.weight_input = nn.Parameter(torch.empty(D, 3 * H, input_size))
        self.weight_recurrent = nn.Parameter(torch.empty(D, 3 * H, H))
        self.bias = nn.Parameter(torch.empty(D, 3 * H)) if bias else None
        self.bias_recurrent = nn.Parameter(torch.empty(D, H)) if bias and reset == "after" else None
        self.reset = reset
        self.hidden_size = hidden_size

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
        device = x.device.type
        dtype = self.weight_recurrent.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return run_layer(
                x,
                state,
                padding,
                self.weight_input,
                self.weight_recurrent,
                self.bias,
                self.bias_recurrent,
                self.reset == "after",
                dtype,
            )


class GRU(nn.Module):
    """A stacked gated recurrent unit, batch first, in one or both directions.

    The backward direction starts at each sequence's own last frame. Frames beyond a sequence's
    length change neither its output nor its state nor any gradient. ``gru_step`` states the
    equations. Under ``torch.autocast`` the matrix products are computed in the lower precision,
    gates and states in that of the parameters.

    Args:
        input_size: features F of a frame.
        hidden_size: hidden units H of a direction.
        num_layers: layers, each running over the output of the one before.
        reset: whether the reset gate acts "before" the recurrent product (Cho et al. 2014) or
            "after" it (cuDNN, ``torch.nn.GRU``).
        bias: whether there are biases.
        bidirectional: whether a second direction runs from the last frame to the first.
        dropout: probability with which an output of a layer is dropped before the next one.
        orthogonal: start each gate's recurrent matrix orthogonal (Saxe et al. 2013) instead of
            uniform in ±1/√H.
        update_bias: start of the update gate's bias; below zero the state is kept longer at first.

    Raises:
        ConfigError: an argument is impossible.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset: str = "after",
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        orthogonal: bool = False,
        update_bias: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if value < 1:
                raise ConfigError(f"GRU: {name} is {value}; expected at least 1: raise it.")
        if reset not in RESETS:
            raise ConfigError(f'GRU: reset is {reset!r}; expected one of {RESETS}: use "after".')
        if not 0 <= dropout < 1:
            raise ConfigError(f"GRU: dropout is {dropout}; expected 0 <= dropout < 1: lower it.")
        if update_bias is not None and not bias:
            raise ConfigError("GRU: update_bias is set without biases: set bias=True.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.reset = reset
        self.bias = bias
        self.bidirectional = bidirectional
        self.directions = 2 if bidirectional else 1
        self.dropout = dropout
        self.orthogonal = orthogonal
        self.update_bias = update_bias
        width = self.directions * hidden_size
        self.layers = nn.ModuleList(
            GRULayer(width if i else input_size, hidden_size, self.directions, reset, bias)
            for i in range(num_layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as ``orthogonal`` and ``update_bias`` say."""
        for layer in self.layers:
            assert isinstance(layer, GRULayer)
            layer.reset_parameters(self.orthogonal, self.update_bias)

    @classmethod
    def from_torch(cls, other: nn.GRU) -> "GRU":
        """Make the GRU with ``reset="after"`` that computes what a torch.nn.GRU computes.

        Args:
            other: any torch.nn.GRU; the result is batch first, whatever this one is.

        Returns:
            A new module on the same device, of the same type.
        """
        gru = cls(
            other.input_size,
            other.hidden_size,
            other.num_layers,
            bias=other.bias,
            bidirectional=other.bidirectional,
            dropout=other.dropout,
        ).to(next(other.parameters()))
        state = other.state_dict()
        for i, layer in enumerate(gru.layers):
            layer.load_state_dict(convert.from_torch(state, i, gru.directions))
        return gru.train(other.training)

    def to_torch(self) -> nn.GRU:
        """Make the torch.nn.GRU, batch first, that computes the same.

        Raises:
            ConfigError: ``reset`` is "before", which torch.nn.GRU cannot compute.
        """
        if self.reset != "after":
            raise ConfigError(
                f"GRU: reset is {self.reset!r}, but torch.nn.GRU only resets after the product: "
                'convert a GRU with reset="after".'
            )
        parameter = next(self.parameters())
        other = nn.GRU(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            batch_first=True,
            device=parameter.device,
            dtype=parameter.dtype,
        )
        state: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            state |= convert.to_torch(layer.state_dict(), i)
        other.load_state_dict(state)
        return other.train(self.training)

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"reset={self.reset!r}, bidirectional={self.bidirectional}, dropout={self.dropout}"
        )

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run all layers.

        Args:
            x: (B, T, F), in the type of the parameters; what stands beyond the lengths, be it
                NaN, has no effect.
            lengths: frames of each sequence (B,) int64, 0 to T; None: all T.
            state: initial states (num_layers * directions, B, H), layer by layer, forward before
                backward; None: zeros. A stream is carried on by giving the state returned for the
                chunk before.

        Returns:
            Output of the last layer (B, T, directions * H), zero beyond the lengths, and the state
            of every layer and direction at the end of its walk, (num_layers * directions, B, H):
            for the forward direction the state at each sequence's own last frame, for the
            backward one that at the first frame; the initial state where the length is 0.

        Raises:
            ValueError: a shape or a length does not fit.
        """
        self._check(x, lengths, state)
        x = x.transpose(0, 1)
        padding = None
        if lengths is not None:
            frames = torch.arange(x.shape[0], device=x.device)
            padding = (frames[:, None] >= lengths.to(x.device)).unsqueeze(2)
            x = x.masked_fill(padding, 0)
        else:
            x = x.contiguous()
        states = [None] * self.num_layers if state is None else state.chunk(self.num_layers)
        finals = []
        for i, (layer, initial) in enumerate(zip(self.layers, states, strict=True)):
            if i and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            x, final = layer(x, initial, padding)
            finals.append(final)
        return x.transpose(0, 1), torch.cat(finals)

    def _check(self, x: Tensor, lengths: Tensor | None, state: Tensor | None) -> None:
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise ValueError(
                f"GRU: the input has shape {tuple(x.shape)}; expected (batch, frames, "
                f"{self.input_size}): transpose it or set input_size."
            )
        B, T, _ = x.shape
        expected = (self.num_layers * self.directions, B, self.hidden_size)
        if state is not None and state.shape != expected:
            raise ValueError(
                f"GRU: the state has shape {tuple(state.shape)}; expected {expected}: pass the "
                "state returned for the same sequences, or None."
            )
        if lengths is None:
            return
        if lengths.shape != (B,) or lengths.is_floating_point():
            raise ValueError(
                f"GRU: lengths has shape {tuple(lengths.shape)} and type {lengths.dtype}; expected "
                f"({B},) of int64: count frames."
            )
        # On other devices, and in a traced graph, looking at a value is not free.
        if lengths.device.type != "cpu" or torch.compiler.is_compiling() or not B:
            return
        if int(lengths.min()) < 0 or int(lengths.max()) > T:
            raise ValueError(
                f"GRU: lengths run from {int(lengths.min())} to {int(lengths.max())}; expected 0 "
                f"to {T}, the frames of the input: count frames after subsampling."
            )
