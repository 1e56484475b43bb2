"""The model: waveforms in, log-probabilities of tokens out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asr.encoder import Encoder, GRUEncoder
from asr.errors import ConfigError
from asr.features import LogMel
from asr.lstm import LSTMEncoder
from asr.schema import build, check_keys, defaults, section

ENCODERS: dict[str, type[Encoder]] = {"gru": GRUEncoder, "lstm": LSTMEncoder}


class CTCModel(nn.Module):
    """Features, encoder and a linear CTC head.

    Args:
        features: turns waveforms into log-mel frames.
        encoder: turns those into encoder frames of size ``encoder.width``.
        vocabulary_size: number V of token ids, the blank (0) included.
    """

    def __init__(self, features: LogMel, encoder: Encoder, vocabulary_size: int) -> None:
        super().__init__()
        self.features = features
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, vocabulary_size)

    @property
    def sample_rate(self) -> int:
        """Samples a second that waveforms must have."""
        return self.features.sample_rate

    @property
    def subsampling_factor(self) -> int:
        """Feature frames that one encoder frame stands for."""
        return self.encoder.subsampling_factor

    @property
    def samples_per_frame(self) -> int:
        """Samples that one encoder frame stands for."""
        return self.features.hop * self.encoder.subsampling_factor

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Count the frames of log-probabilities for waveforms of given lengths.

        It is ``ceil((samples // hop) / subsampling)``.

        Args:
            sample_lengths: ``(B,)``, int64, in samples.

        Returns:
            ``(B,)``, int64, in encoder frames.
        """
        return self.encoder.frame_lengths(self.features.frame_lengths(sample_lengths))

    def forward(self, waveforms: Tensor, sample_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Turn waveforms into log-probabilities.

        Args:
            waveforms: ``(B, S)`` float at ``sample_rate``.
            sample_lengths: ``(B,)``, int64, in samples.

        Returns:
            Natural log-probabilities ``(B, U, V)``, float32, in training and evaluation alike, and
            frame counts ``(B,)``.
        """
        features, lengths = self.features(waveforms, sample_lengths)
        return self.classify(features, lengths)

    def classify(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Turn features into log-probabilities.

        Args:
            features: ``(B, T, F)``, normalised.
            lengths: ``(B,)``, int64, in feature frames.

        Returns:
            As ``forward`` does.
        """
        log_probs, _, lengths = self.with_inner_frames(features, lengths, layers=())
        return log_probs, lengths

    def with_inner_frames(
        self, features: Tensor, lengths: Tensor, layers: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        """Turn features into log-probabilities and keep what some inner layers put out.

        Args:
            features: ``(B, T, F)``, normalised.
            lengths: ``(B,)``, int64, in feature frames.
            layers: as for ``Encoder.with_inner_frames``.

        Returns:
            Log-probabilities ``(B, U, V)`` as ``forward`` returns them, each of those layers'
            output ``(B, U, D)`` by its number, and the frame counts of them all ``(B,)``.
        """
        hidden, inner, lengths = self.encoder.with_inner_frames(features, lengths, layers)
        return self._log_probs(hidden), inner, lengths

    def inner_log_probs(self, inner: Tensor) -> Tensor:
        """Turn an inner layer's output into log-probabilities, by the norm and head of the last.

        Args:
            inner: ``(B, U, D)``, as ``with_inner_frames`` returns it.

        Returns:
            ``(B, U, V)``, float32.
        """
        return self._log_probs(self.encoder.norm(inner))

    def _log_probs(self, hidden: Tensor) -> Tensor:
        return torch.log_softmax(self.head(hidden).float(), dim=-1)

    def classify_next(
        self, features: Tensor, lengths: Tensor, kept: Sequence[slice], states: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn the next features of several recordings into log-probabilities.

        Args:
            features: ``(B, T, F)``, normalised.
            lengths: ``(B,)``, int64, in feature frames.
            kept: as for ``GRUEncoder.carry_on``.
            states: what this method returned before, or None at the start.

        Returns:
            Log-probabilities ``(B, U, V)`` as ``forward`` returns them, frame counts ``(B,)``, and
            the states for the next call.

        Raises:
            ValueError: the encoder is bidirectional, or no GRU.
        """
        if not isinstance(self.encoder, GRUEncoder):
            raise ValueError("only a GRU encoder carries on: encode recordings whole")
        hidden, lengths, states = self.encoder.carry_on(features, lengths, kept, states)
        return torch.log_softmax(self.head(hidden).float(), dim=-1), lengths, states

    def parameter_count(self) -> int:
        """Count the trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())


def build_model(config: Mapping[str, Any], vocabulary_size: int) -> CTCModel:
    """Make a model with fresh weights from a plain dictionary.

    Args:
        config: ``features`` (arguments of ``LogMel``) and ``encoder`` (its ``kind`` and the
            arguments of that kind's class).
        vocabulary_size: number of token ids, the blank included.

    Raises:
        ConfigError: an unknown key or an impossible value; names it and the nearest key.
    """
    check_keys(config, ("features", "encoder"), "model")
    features = build(LogMel, section(config, "features", "model.features"), "model.features")
    options = section(config, "encoder", "model.encoder")
    kind = options.pop("kind", "gru")
    if str(kind) not in ENCODERS:
        raise ConfigError(f"model.encoder.kind is '{kind}'; expected {', '.join(ENCODERS)}")
    _check_kind(kind, options)
    encoder = build(ENCODERS[kind], options, "model.encoder", n_mels=features.n_mels)
    return CTCModel(features, encoder, vocabulary_size)


def _check_kind(kind: str, options: Mapping[str, Any]) -> None:
    """Refuse options that only encoders of other kinds have, which ``build`` would call unknown."""
    own = defaults(ENCODERS[kind])
    for other, encoder in ENCODERS.items():
        foreign = [name for name in options if name in defaults(encoder) and name not in own]
        if foreign:
            remedy = " ".join(f"~model.encoder.{name}" for name in foreign)
            raise ConfigError(
                f"model.encoder.kind is '{kind}', but {', '.join(foreign)} go with '{other}' only; "
                f"take them out ({remedy}) or choose a model of that kind (model={kind}_small)"
            )


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a model's configuration every default that it leaves out.

    What is saved must not change its meaning when a default changes.

    Args:
        config: as for ``build_model``.
    """
    features = section(config, "features", "model.features")
    encoder = {"kind": "gru", **section(config, "encoder", "model.encoder")}
    return {
        "features": {**defaults(LogMel), **features},
        "encoder": {**defaults(ENCODERS[encoder["kind"]]), **encoder},
    }
