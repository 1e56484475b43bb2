"""Log-mel features without torch: what ``asr.features.LogMel`` computes of a stream of audio."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from asr.mel import POWER_FLOOR, floor_shape, frame_shape, mel_filters
from asr.normalization import Array, BlockNormalization
from asr.resampling import Samples

Frames = NDArray[np.float32]
_FRAMES_AT_ONCE = 256


class ArrayFeatures:
    """Computes features as arrays.

    Args:
        config: the arguments of ``asr.features.LogMel``, all of them; models of old may lack
            ``floor_db``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.sample_rate = int(config["sample_rate"])
        self.n_mels = int(config["n_mels"])
        self.normalize = str(config["normalize"])
        self._shape = frame_shape(self.sample_rate, config["window_ms"], config["hop_ms"])
        self.hop = self._shape.hop
        self._filters = mel_filters(self.sample_rate, self._shape.n_fft, self.n_mels)
        floor_db = config.get("floor_db")
        self._floor = None if floor_db is None else floor_shape(self._filters, float(floor_db))
        # Hann's window over a whole period, as for spectra of periodic signals.
        steps = np.arange(self._shape.window) / self._shape.window
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * steps)).astype(np.float32)

    def stream(self, blocks: Iterable[Samples]) -> Iterator[Frames]:
        """Turn consecutive stretches ``(S_i,)`` of a waveform into log-mel frames ``(T_i, F)``."""
        hop, margin = self.hop, self._shape.n_fft - self.hop
        pending: Samples = np.zeros(margin // 2, np.float32)
        samples = frames = 0
        for block in blocks:
            samples += len(block)
            pending = np.concatenate([pending, block])
            if (count := (len(pending) - margin) // hop) > 0:
                yield self._log_mel(pending, count)
                frames += count
                pending = pending[count * hop :]
        if (count := samples // hop - frames) > 0:
            yield self._log_mel(np.pad(pending, (0, margin - margin // 2)), count)

    def _log_mel(self, waveform: Samples, count: int) -> Frames:
        # A window shorter than the transform lies in its middle; where matters to no power.
        before = (self._shape.n_fft - self._shape.window) // 2
        stretches = sliding_window_view(waveform[before:], self._shape.window)[:: self.hop]
        mel = np.empty((count, self.n_mels), np.float32)
        # So few frames at a time stay in the processor's cache.
        for start in range(0, count, _FRAMES_AT_ONCE):
            rows = slice(start, min(start + _FRAMES_AT_ONCE, count))
            spectra = np.fft.rfft(stretches[rows] * self._window, self._shape.n_fft)
            power = np.square(spectra.real) + np.square(spectra.imag)
            np.matmul(power, self._filters, out=mel[rows])
        np.maximum(mel, np.float32(POWER_FLOOR), out=mel)
        return np.log(mel, out=mel)

    def normalization(self) -> "ArrayNormalization":
        """Begin the normalisation of a recording."""
        return ArrayNormalization(self.normalize, self._floor)

    def join(self, parts: Sequence[Frames]) -> Frames:
        """Put stretches ``(T_i, F)`` behind each other; none of them make ``(0, F)``."""
        return np.concatenate([np.empty((0, self.n_mels), np.float32), *parts])


class ArrayNormalization(BlockNormalization[Frames]):
    """The normalisation of arrays ``(T, F)`` that come in blocks."""

    def _like(self, values: Array, frames: Frames) -> Frames:
        return values.astype(frames.dtype)

    def _copy(self, frames: Frames) -> Frames:
        return frames.copy()

    def _power(self, log_mel: Frames) -> float:
        return float(np.exp(log_mel).sum(dtype=np.float64))

    def _moments(self, relative: Frames) -> Array:
        exact = relative.astype(np.float64)
        return np.stack([exact.sum(axis=0), np.square(exact).sum(axis=0)])

    def _noisy(self, log_mel: Frames, floor: Frames) -> Frames:
        noisy: Frames = np.logaddexp(log_mel, floor)
        return noisy
