"""The numbers of log-mel features that every implementation of them shares."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Power below which a mel band counts as silent: 16-bit dither lies near 1e-7 a bin.
POWER_FLOOR = 1e-7
# Keeps the spread of digital silence, which is 0, from becoming a divisor.
MIN_STANDARD_DEVIATION = 1e-2
# Roughly that of natural logarithms of mel power in speech: AN4's bands have 2.1 to 3.8.
TYPICAL_STANDARD_DEVIATION = 2.5


@dataclass(frozen=True)
class FrameShape:
    """How a waveform is framed.

    Attributes:
        hop: samples from one frame to the next.
        window: samples that a frame sees, in the middle of ``n_fft``.
        n_fft: samples of the Fourier transform.
    """

    hop: int
    window: int
    n_fft: int


def frame_shape(sample_rate: int, window_ms: float, hop_ms: float) -> FrameShape:
    """Turn lengths of time into samples; the transform is the next power of 2.

    Args:
        sample_rate: samples a second.
        window_ms: length of the window in milliseconds.
        hop_ms: distance of frames in milliseconds.
    """
    window = round(sample_rate * window_ms / 1000)
    return FrameShape(round(sample_rate * hop_ms / 1000), window, 1 << (window - 1).bit_length())


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Compute triangular filters, evenly spaced on the mel scale from 0 to half the sample rate.

    Args:
        sample_rate: samples a second.
        n_fft: samples of the Fourier transform.
        n_mels: bands, F.

    Returns:
        ``(n_fft // 2 + 1, F)``.

    Source: the mel scale of HTK, 2595 · log10(1 + f / 700), as ``torchaudio`` builds its filters.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, sample_rate // 2, n_fft // 2 + 1)
    slopes = edges - bins[:, None]
    widths = np.diff(edges)
    falling, rising = slopes[:, 2:] / widths[1:], -slopes[:, :-2] / widths[:-1]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def floor_shape(filters: NDArray[np.float32], floor_db: float) -> NDArray[np.float32]:
    """Say how much white noise adds to each band beside speech with a mel power of 1 a frame.

    Args:
        filters: ``(bins, F)``, as ``mel_filters`` computes them.
        floor_db: decibels of speech over noise, summed over all bands.

    Returns:
        ``(F,)``, natural logarithms of power: what a band takes of a flat spectrum.
    """
    bands = filters.sum(axis=0, dtype=np.float64)
    shape: NDArray[np.float64] = np.log(bands / bands.sum()) - floor_db * math.log(10) / 10
    return shape.astype(np.float32)
