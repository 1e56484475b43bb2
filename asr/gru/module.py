"""The GRU module: stacked layers, one or both directions, lengths, state."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.gru import convert, layouts
from asr.gru.layouts import Array, OnnxWeights
from asr.gru.parameters import GRULayer
from asr.gru.reference import RESETS


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
        checkpoint_frames: for long sequences in little memory, frames of a segment whose gates are
            computed again in the backward pass instead of being kept; None: all are kept.

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
        checkpoint_frames: int | None = None,
    ) -> None:
        super().__init__()
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
        self.checkpoint_frames = checkpoint_frames
        self._check_options()
        width = self.directions * hidden_size
        self.layers = nn.ModuleList(
            GRULayer(
                width if i else input_size,
                hidden_size,
                self.directions,
                reset,
                bias,
                checkpoint_frames,
            )
            for i in range(num_layers)
        )
        self.reset_parameters()

    def _check_options(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers", "checkpoint_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"GRU: {name} is {value}; expected at least 1: raise it.")
        if self.reset not in RESETS:
            raise ConfigError(
                f'GRU: reset is {self.reset!r}; expected one of {RESETS}: use "after".'
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"GRU: dropout is {self.dropout}; expected 0 <= dropout < 1: lower it."
            )
        if self.update_bias is not None and not self.bias:
            raise ConfigError("GRU: update_bias is set without biases: set bias=True.")

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

    @classmethod
    def from_keras(cls, layers: Sequence[Sequence[Array]], *, reset_after: bool = True) -> "GRU":
        """Make the GRU that computes what a stack of Keras layers computes.

        Args:
            layers: what ``get_weights()`` of each Keras layer gives, a ``GRU`` or a
                ``Bidirectional`` of one, in the order of the stack; their activations sigmoid and
                tanh, the two directions concatenated.
            reset_after: as in Keras, where it is true unless said otherwise.

        Returns:
            A new module of the arrays' type.

        Raises:
            ValueError: a count or a shape does not fit.

        Source: keras.layers.GRU, Keras 2 and 3.
        """
        found = [layouts.from_keras(layer, reset_after=reset_after) for layer in layers]
        return cls._from_parameters(found, "after" if reset_after else "before")

    def to_keras(self) -> list[list[Array]]:
        """Give what ``set_weights()`` of each of a stack of Keras layers takes.

        The Keras layers need ``reset_after`` true where ``reset`` is "after", else false, and
        ``use_bias`` as ``bias``.
        """
        after = self.reset == "after"
        return [layouts.to_keras(layer.state_dict(), reset_after=after) for layer in self.layers]

    @classmethod
    def from_onnx(
        cls,
        layers: Sequence[tuple[Array, Array, Array | None]],
        *,
        linear_before_reset: bool = False,
    ) -> "GRU":
        """Make the GRU that computes what a stack of ONNX's GRU operators computes.

        Args:
            layers: inputs W (D, 3H, F), R (D, 3H, H) and B (D, 6H) or None of each operator, its
                direction forward (D = 1) or bidirectional (D = 2), its activations the default.
            linear_before_reset: as in ONNX, where it is false unless said otherwise.

        Returns:
            A new module of the arrays' type.

        Raises:
            ValueError: a shape does not fit.

        Source: ONNX operator GRU.
        """
        found = [layouts.from_onnx(w, linear_before_reset=linear_before_reset) for w in layers]
        return cls._from_parameters(found, "after" if linear_before_reset else "before")

    def to_onnx(self) -> list[OnnxWeights]:
        """Give inputs W, R and B of ONNX's GRU operator for each layer.

        The operators need ``linear_before_reset`` 1 where ``reset`` is "after", else 0.
        """
        return [layouts.to_onnx(layer.state_dict()) for layer in self.layers]

    @classmethod
    def _from_parameters(cls, layers: Sequence[Mapping[str, Tensor]], reset: str) -> "GRU":
        D, _, F = layers[0]["weight_input"].shape
        H = layers[0]["weight_recurrent"].shape[2]
        bias, bidirectional = "bias" in layers[0], D == 2
        gru = cls(F, H, len(layers), reset=reset, bias=bias, bidirectional=bidirectional)
        gru = gru.to(layers[0]["weight_input"].dtype)
        for i, (layer, found) in enumerate(zip(gru.layers, layers, strict=True)):
            expected = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
            shapes = {name: tuple(value.shape) for name, value in found.items()}
            if shapes != expected:
                raise ValueError(
                    f"GRU: layer {i} has {shapes}; expected {expected} on top of the layers "
                    "before: pass layers of one size, in the order of the stack."
                )
            layer.load_state_dict(found)
        return gru

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
