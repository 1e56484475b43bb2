"""Rooms: the echoes of a simulated room, without shifting a word."""

import numpy as np

from asr.augment.sound import SoundAugmentation, check_range
from asr.resampling import Samples


class Room(SoundAugmentation):
    """Makes an utterance sound as if spoken in a room, at its own energy.

    The direct sound stays where it is; what would sound on behind the end is cut.

    Args:
        sample_rate: of the waveforms, in Hz.
        probability: of a room, for each utterance in each epoch.
        rt60_seconds: range of the time in which sound decays by 60 dB, drawn evenly.
        direct_to_reverberant_db: range of the energy of the direct sound over that of all echoes,
            in dB, drawn evenly; smaller is farther from the microphone.
    """

    where = "augment.room"
    stream = 5

    def __init__(
        self,
        sample_rate: int,
        probability: float,
        rt60_seconds: tuple[float, float] = (0.1, 0.5),
        direct_to_reverberant_db: tuple[float, float] = (0.0, 15.0),
    ) -> None:
        super().__init__(probability)
        check_range(rt60_seconds, 0.01, 5, f"{self.where}.rt60_seconds")
        check_range(direct_to_reverberant_db, -20, 60, f"{self.where}.direct_to_reverberant_db")
        self.sample_rate = sample_rate
        self.rt60_seconds = rt60_seconds
        self.direct_to_reverberant_db = direct_to_reverberant_db

    def change(self, waveform: Samples, generator: np.random.Generator, index: int) -> Samples:
        rt60_seconds = generator.uniform(*self.rt60_seconds)
        ratio_db = generator.uniform(*self.direct_to_reverberant_db)
        response = impulse_response(self.sample_rate, rt60_seconds, ratio_db, generator)
        heard = convolve(waveform, response)
        energy = float(np.dot(heard, heard))
        if not energy:
            return waveform
        gain = np.sqrt(float(np.dot(waveform, waveform)) / energy)
        return np.float32(gain) * heard


def impulse_response(
    sample_rate: int, rt60_seconds: float, ratio_db: float, generator: np.random.Generator
) -> Samples:
    """Simulate how a room answers an impulse: the impulse, then Gaussian noise that decays.

    Args:
        sample_rate: in Hz.
        rt60_seconds: the time in which the noise decays by 60 dB, after which it ends.
        ratio_db: energy of the impulse over that of the noise, in dB.
        generator: of the noise.

    Returns:
        ``(about rt60_seconds * sample_rate,)`` float32, the impulse of height 1 first.

    Source: reverberation as Gaussian noise whose energy decays exponentially (Badeau 2018, "Unified
    stochastic reverberation modeling"), drawn for augmentation as in Masztalski et al. 2020,
    "StoRIR" (arXiv 2008.07231), here without early reflections of their own.
    """
    samples = 1 + max(1, round(rt60_seconds * sample_rate))
    times = np.arange(1, samples, dtype=np.float32) / np.float32(sample_rate * rt60_seconds)
    response = np.empty(samples, np.float32)
    response[0] = 1
    echoes = generator.standard_normal(samples - 1, np.float32) * np.exp(-3 * np.log(10) * times)
    echoes *= np.sqrt(10 ** (-ratio_db / 10) / float(np.dot(echoes, echoes)))
    response[1:] = echoes
    return response


def convolve(waveform: Samples, response: Samples) -> Samples:
    """Convolve by Fourier transform and keep the waveform's length.

    Args:
        waveform: ``(S,)`` float32.
        response: ``(R,)`` float32.

    Returns:
        ``(S,)`` float32, the first S samples of the full convolution.
    """
    size = _fast_size(len(waveform) + len(response) - 1)
    spectrum = np.fft.rfft(waveform, size)
    spectrum *= np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32, copy=False)


def _fast_size(least: int) -> int:
    # The next of 2^n, 5/4, 3/2 and 7/4 of it; the transform of a length with large prime factors
    # takes many times as long.
    power = 1 << max(3, least.bit_length() - 1)
    return next(size for size in (power * n // 4 for n in (4, 5, 6, 7, 8)) if size >= least)
