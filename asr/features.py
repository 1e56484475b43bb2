"""Log-mel features of waveforms: the same for an utterance alone and inside a padded batch."""

import math
from collections.abc import Iterable, Iterator

import torch
import torchaudio
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.mel import (
    MIN_STANDARD_DEVIATION,
    POWER_FLOOR,
    TYPICAL_STANDARD_DEVIATION,
    floor_shape,
    frame_shape,
)
from asr.normalization import Array, BlockNormalization
from asr.padding import length_mask, mask_padding

NORMALIZATIONS = ("mean", "utterance", "none")


class LogMel(nn.Module):
    """Logarithm of mel-filtered power spectra, normalised over each utterance.

    Frame t covers the window around sample ``(t + 0.5) * hop``: the waveform is framed between
    ``(n_fft - hop) // 2`` zeros on both sides, so that there are exactly ``samples // hop`` frames
    and none depends on what other utterances share the batch.

    Args:
        sample_rate: samples a second of the waveforms.
        n_mels: mel bands, F.
        window_ms: length of the Hann window in milliseconds.
        hop_ms: distance of frames in milliseconds.
        normalize: ``"mean"`` takes from each band its mean over the utterance's own frames and
            divides all by one constant, so that loud bands stay loud; ``"utterance"`` gives each
            band unit variance as well; ``"none"`` leaves the logarithms as they are.
        floor_db: hides what is quieter than white noise so many decibels below the utterance: the
            noise's mean power is added to every frame, before the logarithm, so that recordings
            with more noise and with less look alike. None: nothing is hidden.

    Raises:
        ConfigError: an unknown normalisation, an impossible floor, or more bands than the spectrum
            can fill.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        normalize: str = "mean",
        floor_db: float | None = None,
    ) -> None:
        super().__init__()
        if floor_db is not None and not 0 < floor_db <= 100:
            raise ConfigError(
                f"features.floor_db is {floor_db}; expected above 0 and at most 100, or null"
            )
        if normalize not in NORMALIZATIONS:
            raise ConfigError(
                f"features.normalize is '{normalize}'; expected one of {', '.join(NORMALIZATIONS)}"
            )
        self.sample_rate = sample_rate
        self.n_mels = n_mels
        self.normalize = normalize
        if min(sample_rate, n_mels) < 1:
            raise ConfigError(
                f"features.sample_rate is {sample_rate} and n_mels is {n_mels}; expected 1 or more"
            )
        shape = frame_shape(sample_rate, window_ms, hop_ms)
        self.hop, window, self.n_fft = shape.hop, shape.window, shape.n_fft
        if not 0 < self.hop <= window:
            raise ConfigError(
                f"features.hop_ms {hop_ms} must be positive and at most window_ms {window_ms}"
            )
        filters = torchaudio.functional.melscale_fbanks(
            self.n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate
        )
        if (empty := int((filters.amax(dim=0) == 0).sum())) > 0:
            raise ConfigError(
                f"features.n_mels is {n_mels}, but {empty} of the bands hold no spectral bin at "
                f"{sample_rate} Hz; use fewer bands"
            )
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate, self.n_fft, window, self.hop, n_mels=n_mels, center=False
        )
        hidden = None
        if floor_db is not None:
            hidden = torch.from_numpy(floor_shape(filters.numpy(), floor_db))
        self.floor: Tensor | None
        self.register_buffer("floor", hidden, persistent=False)
        # The tables follow from the arguments; a saved model need not carry them.
        for module in self.mel.modules():
            module._non_persistent_buffers_set.update(module._buffers)

    def band_centres(self) -> Tensor:
        """Give the frequency in the middle of each band in hertz, ``(F,)``, rising.

        Source: the mel scale of HTK, 2595 · log10(1 + f / 700), cut into F + 1 equal parts.
        """
        top = 2595 * math.log10(1 + self.sample_rate / 2 / 700)
        mels = torch.linspace(0, top, self.n_mels + 2, dtype=torch.float64)[1:-1]
        return 700 * (10 ** (mels / 2595) - 1)

    def frame_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Count the frames of waveforms: ``samples // hop``.

        Args:
            sample_lengths: ``(B,)``, int64, in samples.

        Returns:
            ``(B,)``, int64, in frames.
        """
        return sample_lengths // self.hop

    def forward(self, waveforms: Tensor, sample_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute normalised log-mel features.

        Args:
            waveforms: ``(B, S)`` float, within [-1, 1].
            sample_lengths: ``(B,)``, int64, in samples.

        Returns:
            Features ``(B, T, F)``, zero behind each utterance's end, and frame counts ``(B,)``.
        """
        features, lengths = self.log_mel(waveforms, sample_lengths)
        return self.normalized(features, lengths), lengths

    @property
    def unit_db(self) -> float:
        """Decibels of power that make a difference of 1 in normalised features, roughly."""
        natural = 10 / math.log(10)
        return natural if self.normalize == "none" else natural * TYPICAL_STANDARD_DEVIATION

    def log_mel(self, waveforms: Tensor, sample_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-mel features before normalisation.

        Args:
            waveforms: ``(B, S)`` float, within [-1, 1].
            sample_lengths: ``(B,)``, int64, in samples.

        Returns:
            Natural logarithms of mel power ``(B, T, F)`` and frame counts ``(B,)``.
        """
        # Spectra and their logarithms need float32 even where autocast halves the rest.
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms = mask_padding(waveforms.float(), sample_lengths)
            margin = self.n_fft - self.hop
            # A batch of very short waveforms still fills one window; its frames count as padding.
            missing = max(0, self.hop - waveforms.shape[1])
            left = margin // 2
            padded = nn.functional.pad(waveforms, (left, margin - left + missing))
            power = self.mel(padded).transpose(1, 2)
            lengths = self.frame_lengths(sample_lengths)
            # Frames past samples // hop exist only where a longest waveform is no multiple of hop.
            power = power[:, : max(1, waveforms.shape[1] // self.hop)]
            return torch.log(power.clamp_min(POWER_FLOOR)), lengths

    def stream_log_mel(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Compute log-mel features of a waveform that arrives in blocks.

        Args:
            blocks: consecutive stretches ``(S_i,)`` of one waveform.

        Yields:
            Consecutive stretches ``(T_i, F)`` of what ``log_mel`` gives for the whole.
        """
        margin = self.n_fft - self.hop
        pending: Tensor | None = None
        samples = frames = 0
        for block in blocks:
            samples += len(block)
            before = block.new_zeros(margin // 2) if pending is None else pending
            pending = torch.cat([before, block])
            if (count := (len(pending) - margin) // self.hop) > 0:
                yield self._frames(pending[: count * self.hop + margin])
                frames += count
                pending = pending[count * self.hop :]
        if pending is not None and (count := samples // self.hop - frames) > 0:
            end = torch.cat([pending, pending.new_zeros(margin - margin // 2)])
            yield self._frames(end[: count * self.hop + margin])

    def _frames(self, waveform: Tensor) -> Tensor:
        power: Tensor = self.mel(waveform.float())
        return torch.log(power.T.clamp_min(POWER_FLOOR))

    def normalized(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Normalise each utterance over its own frames, as ``normalize`` and ``floor_db`` say.

        Args:
            features: ``(B, T, F)`` as ``log_mel`` returns them.
            lengths: ``(B,)``, int64, in frames.

        Returns:
            ``(B, T, F)``, zero behind each utterance's end.
        """
        mask = length_mask(lengths, features.shape[1]).unsqueeze(2)
        count = lengths.clamp_min(1).reshape(-1, 1, 1)
        if self.floor is not None:
            level = (features.exp() * mask).sum(dim=(1, 2), keepdim=True) / count
            features = torch.logaddexp(features, level.log() + self.floor)
        if self.normalize == "none":
            return mask_padding(features, lengths)
        # Relative to the first frame a silent band is exactly 0; its mean would otherwise carry
        # a rounding error that depends on the padding and that its tiny spread blows up.
        relative = (features - features[:, :1]) * mask
        mean = relative.sum(dim=1, keepdim=True) / count
        centred = (relative - mean) * mask
        if self.normalize == "mean":
            return centred / TYPICAL_STANDARD_DEVIATION
        variance = centred.square().sum(dim=1, keepdim=True) / count
        return centred / variance.sqrt().clamp_min(MIN_STANDARD_DEVIATION)


class RunningNormalization(BlockNormalization[Tensor]):
    """The normalisation of tensors ``(T, F)`` that come in blocks, on any device."""

    def _like(self, values: Array, frames: Tensor) -> Tensor:
        return torch.from_numpy(values).to(frames.device, torch.float32)

    def _copy(self, frames: Tensor) -> Tensor:
        return frames.clone()

    def _power(self, log_mel: Tensor) -> float:
        return float(log_mel.exp().sum(dim=1).double().sum())

    def _moments(self, relative: Tensor) -> Array:
        sums = torch.stack([relative.sum(dim=0), relative.square().sum(dim=0)])
        moments: Array = sums.cpu().double().numpy()
        return moments

    def _noisy(self, log_mel: Tensor, floor: Tensor) -> Tensor:
        return torch.logaddexp(log_mel, floor)
