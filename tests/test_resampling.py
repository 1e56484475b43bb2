"""Resampled waveforms have the documented length and hold the same sound."""

from fractions import Fraction

import numpy as np
import pytest

from asr.resampling import resample, resample_blocks, resampled_length


def sine(seconds: float, rate: int, hertz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("source_rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("target_rate", [8000, 16000, 17600])
def test_resampling_gives_the_documented_length(source_rate, target_rate):
    for samples in (1, 2, 441, 442, 12345, 100001):
        exact = Fraction(samples * target_rate, source_rate)
        rounded = int(exact + Fraction(1, 2))
        assert resampled_length(samples, source_rate, target_rate) == rounded
        assert len(resample(np.zeros(samples, np.float32), source_rate, target_rate)) == rounded


@pytest.mark.parametrize(("source_rate", "target_rate"), [(44100, 16000), (8000, 16000)])
def test_a_resampled_sine_is_the_sine_at_the_new_rate(source_rate, target_rate):
    resampled = resample(sine(1, source_rate, 1000.3).astype("f4"), source_rate, target_rate)
    error = resampled - sine(1, target_rate, 1000.3)
    assert np.abs(error[1000:-1000]).max() < 2e-6


def test_resampling_keeps_what_lies_above_the_new_band_out():
    resampled = resample(sine(1, 48000, 9000.0).astype("f4"), 48000, 16000)
    assert np.abs(resampled[1000:-1000]).max() < 1e-5


@pytest.mark.parametrize("size", [1, 160, 4099])
def test_blocks_resample_as_the_whole_does(size):
    whole = np.random.default_rng(0).standard_normal(10000).astype(np.float32)
    blocks = (whole[start : start + size] for start in range(0, len(whole), size))
    joined = np.concatenate(list(resample_blocks(blocks, 44100, 16000)))
    assert np.array_equal(joined, resample(whole, 44100, 16000))


def test_equal_rates_leave_the_waveform_alone():
    waveform = np.ones(5, np.float32)
    assert resample(waveform, 16000, 16000) is waveform
