"""The encoder: convolutions thin out the frames, a stack of residual GRU layers reads them."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.gru import GRU
from asr.padding import mask_padding, pad_sequences

WIDEST = 13
"""Frames of a first convolution with which none looks beyond three encoder frames."""


class Subsampling(nn.Module):
    """Strided convolutions over time and frequency; each halves the number of frames.

    Args:
        n_mels: bands of the features, F.
        width: size of an output frame, D.
        factor: 2 or 4 feature frames to an output frame.
        channels: channels of the convolutions.
        kernel: frames and bands that the first convolution sees at once; the other sees 3 × 3.
    """

    def __init__(
        self, n_mels: int, width: int, factor: int, channels: int, kernel: Sequence[int]
    ) -> None:
        super().__init__()
        if factor not in (2, 4):
            raise ConfigError(f"model.encoder.subsampling is {factor}; expected 2 or 4")
        if min(channels, width) < 1:
            raise ConfigError(
                f"model.encoder.channels is {channels} and width is {width}; expected 1 or more"
            )
        if not (all(size % 2 for size in kernel) and 0 < kernel[0] <= WIDEST and kernel[1] > 0):
            raise ConfigError(
                f"model.encoder.kernel is {list(kernel)}; expected two odd numbers, the frames no "
                f"more than {WIDEST}"
            )
        self.width = width
        self.factor = factor
        halvings = factor.bit_length() - 1
        kernels = [tuple(kernel), (3, 3)][:halvings]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                channels if level else 1,
                channels,
                (frames, bands),
                stride=2,
                padding=(frames // 2, bands // 2),
            )
            for level, (frames, bands) in enumerate(kernels)
        )
        bands = n_mels
        for _ in range(halvings):
            bands = (bands + 1) // 2
        self.projection = nn.Linear(channels * bands, width)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, T, F)`` to ``(B, U, D)``, padding masked before every convolution."""
        hidden = mask_padding(features, lengths).unsqueeze(1)
        for convolution in self.convolutions:
            hidden = torch.relu(convolution(hidden))
            lengths = halved(lengths)
            hidden = mask_padding(hidden.transpose(1, 2), lengths).transpose(1, 2)
        return self.projection(hidden.transpose(1, 2).flatten(2)), lengths


def halved(lengths: Tensor) -> Tensor:
    """Count the frames that a convolution of stride 2 leaves: half, rounded up."""
    return (lengths + 1) // 2


class ResidualLayer(nn.Module):
    """One layer: x + dropout(recurrent(norm(x))), normalised before and not after (pre-norm).

    Args:
        width: size of a frame, D; each direction gets its share of it.
        bidirectional: whether a second direction reads from the end.
        dropout: probability to drop an output value in training.
    """

    def __init__(self, width: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        directions = 2 if bidirectional else 1
        if width % directions:
            raise ConfigError(f"model.encoder.width is {width}; two directions need an even number")
        self.units = width // directions
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)


class ResidualGRU(ResidualLayer):
    """A layer of a ``GRUEncoder``, whose arguments it takes."""

    def __init__(
        self,
        width: int,
        reset: str,
        bidirectional: bool,
        dropout: float,
        checkpoint_frames: int | None,
    ) -> None:
        super().__init__(width, bidirectional, dropout)
        self.gru = GRU(
            width,
            self.units,
            reset=reset,
            bidirectional=bidirectional,
            orthogonal=True,
            checkpoint_frames=checkpoint_frames,
        )

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(B, U, D)`` to ``(B, U, D)``."""
        return self.carry_on(hidden, lengths, None)[0]

    def carry_on(
        self, hidden: Tensor, lengths: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Do the same from a state of the GRU; give its state at the end as well."""
        output, final = self.gru(self.norm(hidden), lengths, state)
        return hidden + self.dropout(output), final


class Encoder(nn.Module):
    """Subsampling and a stack of residual recurrent layers of some kind.

    Args:
        subsampling: tells the size of an encoder frame, D.
        layers: number of layers.
        layer: makes one.
        bidirectional: whether every layer also reads from the end.
        dropout: probability to drop a layer's output value in training.
    """

    carries_states = False
    """Whether the layers can hand their states on from one stretch of a recording to the next."""

    def __init__(
        self,
        subsampling: Subsampling,
        layers: int,
        layer: Callable[[], ResidualLayer],
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.encoder.dropout is {dropout}; expected a share in [0, 1)")
        if layers < 1:
            raise ConfigError(f"model.encoder.layers is {layers}; expected 1 or more")
        self.width = subsampling.width
        self.bidirectional = bidirectional
        self.subsampling_factor = subsampling.factor
        self.subsampling = subsampling
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layer() for _ in range(layers))
        self.norm = nn.LayerNorm(self.width)

    def frame_lengths(self, feature_lengths: Tensor) -> Tensor:
        """Count encoder frames: feature frames over the subsampling factor, rounded up.

        Args:
            feature_lengths: ``(B,)``, int64, in feature frames T.

        Returns:
            ``(B,)``, int64, in encoder frames U.
        """
        return (feature_lengths + self.subsampling_factor - 1) // self.subsampling_factor

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            features: ``(B, T, F)``.
            lengths: ``(B,)``, int64, in feature frames.

        Returns:
            Encoder frames ``(B, U, D)`` and their counts ``(B,)``.
        """
        frames, _, lengths = self.with_inner_frames(features, lengths, layers=())
        return frames, lengths

    def with_inner_frames(
        self, features: Tensor, lengths: Tensor, layers: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        """Encode a batch and keep what some of the layers put out.

        Args:
            features: ``(B, T, F)``.
            lengths: ``(B,)``, int64, in feature frames.
            layers: their numbers, from 1.

        Returns:
            Encoder frames ``(B, U, D)``, each of those layers' output ``(B, U, D)`` by its number,
            and the counts of them all ``(B,)``.
        """
        hidden, lengths = self.subsampling(features, lengths)
        hidden = self.dropout(hidden)
        inner = {}
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, lengths)
            if number in layers:
                inner[number] = hidden
        return self.norm(hidden), inner, lengths


class GRUEncoder(Encoder):
    """Subsampling and a stack of residual, bidirectional GRU layers.

    Args:
        n_mels: bands of the features, F.
        layers: number of layers.
        width: size of an encoder frame, D; both directions together.
        subsampling: 2 or 4 feature frames to an encoder frame.
        channels: channels of the subsampling convolutions.
        kernel: frames and bands that the first of them sees at once, both odd.
        bidirectional: whether every layer also reads from the end.
        dropout: probability to drop a layer's output value in training.
        reset: the GRU's form: ``"before"`` as in Cho et al. 2014, ``"after"`` as in cuDNN.
        checkpoint_frames: to train on long utterances in little memory, encoder frames of a segment
            whose gates are computed again in the backward pass; None: all are kept.
    """

    carries_states = True

    def __init__(
        self,
        n_mels: int,
        layers: int = 3,
        width: int = 384,
        subsampling: int = 4,
        channels: int = 32,
        kernel: tuple[int, int] = (3, 3),
        reset: str = "after",
        bidirectional: bool = True,
        dropout: float = 0.1,
        checkpoint_frames: int | None = None,
    ) -> None:
        if reset not in ("before", "after"):
            raise ConfigError(f"model.encoder.reset is '{reset}'; expected 'before' or 'after'")
        if checkpoint_frames is not None and checkpoint_frames < 1:
            raise ConfigError(
                f"model.encoder.checkpoint_frames is {checkpoint_frames}; expected 1 or more, or "
                "null to keep all gates"
            )

        def layer() -> ResidualGRU:
            return ResidualGRU(width, reset, bidirectional, dropout, checkpoint_frames)

        front = Subsampling(n_mels, width, subsampling, channels, kernel)
        super().__init__(front, layers, layer, bidirectional, dropout)

    def carry_on(
        self, features: Tensor, lengths: Tensor, kept: Sequence[slice], states: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode the next stretch of each of several recordings, as if each were encoded whole.

        The convolutions look up to three encoder frames to either side, with the usual kernel less
        than one: a stretch brings features of as many before and behind what is kept of it, where
        there are any.

        Args:
            features: ``(B, T, F)``.
            lengths: ``(B,)``, int64, in feature frames.
            kept: the encoder frames of each stretch that follow those kept before.
            states: what this method returned for the stretches before, ``(layers, B, D)``; None at
                the start of all.

        Returns:
            Encoder frames ``(B, U, D)``, their counts ``(B,)``, and the states for the next call.

        Raises:
            ValueError: the encoder is bidirectional and so needs all that follows.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional encoder cannot carry on: encode recordings whole")
        thinned, counts = self.subsampling(features, lengths)
        rows = [
            row[: int(count)][part]
            for row, count, part in zip(thinned, counts.tolist(), kept, strict=True)
        ]
        hidden, counts = pad_sequences(rows)
        counts = counts.to(features.device)
        finals = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ResidualGRU)
            hidden, final = layer.carry_on(
                hidden, counts, None if states is None else states[number : number + 1]
            )
            finals.append(final)
        return self.norm(hidden), counts, torch.cat(finals)
