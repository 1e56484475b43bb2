"""Log-mel features against an independent implementation in NumPy's float64."""

import numpy as np
import pytest
import torch

from asr.errors import ConfigError
from asr.features import LogMel, RunningNormalization
from asr.padding import pad_sequences


def hertz_to_mel(hertz):
    return 2595 * np.log10(1 + hertz / 700)


def triangular_filters(sample_rate, n_fft, n_mels):
    """HTK's filters: triangles in hertz whose corners are equally spaced in mel, (bins, F)."""
    mels = np.linspace(0, hertz_to_mel(sample_rate / 2), n_mels + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    filters = np.zeros((len(bins), n_mels))
    for band in range(n_mels):
        low, centre, high = corners[band : band + 3]
        for index, hertz in enumerate(bins):
            rising, falling = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
            filters[index, band] = max(0.0, min(rising, falling))
    return filters


def numpy_log_mel(waveform, sample_rate, n_mels):
    """Windows of 25 ms, every 10 ms, around sample (t + 0.5) * hop; (T, F) in float64."""
    window, hop = round(0.025 * sample_rate), round(0.010 * sample_rate)
    n_fft = {400: 512, 200: 256}[window]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    filters = triangular_filters(sample_rate, n_fft, n_mels)
    around = np.concatenate([np.zeros(window), waveform.astype(np.float64), np.zeros(window)])
    frames = []
    for t in range(len(waveform) // hop):
        start = window + t * hop + hop // 2 - window // 2
        spectrum = np.fft.rfft(around[start : start + window] * hann, n_fft)
        power = spectrum.real**2 + spectrum.imag**2
        frames.append(np.log(np.maximum(power @ filters, 1e-7)))
    return np.array(frames).reshape(-1, n_mels)


def noise(samples, seed=0):
    generator = np.random.default_rng(seed)
    loudness = np.abs(np.sin(np.arange(samples) / 3000)) + 0.01
    return torch.from_numpy((0.1 * loudness * generator.standard_normal(samples)).astype("float32"))


def alone(features, waveform):
    return features(waveform.unsqueeze(0), torch.tensor([len(waveform)]))[0][0]


@pytest.fixture(scope="module")
def features():
    return LogMel()


@pytest.mark.parametrize(("sample_rate", "n_mels"), [(16000, 80), (16000, 40), (8000, 64)])
@pytest.mark.parametrize("samples", [12345, 16000])
def test_log_mel_is_that_of_numpy(sample_rate, n_mels, samples):
    features = LogMel(sample_rate, n_mels)
    waveform = noise(samples)
    found, lengths = features.log_mel(waveform.unsqueeze(0), torch.tensor([samples]))
    expected = numpy_log_mel(waveform.numpy(), sample_rate, n_mels)
    assert lengths.tolist() == [len(expected)]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-4)


def test_power_below_the_floor_counts_as_the_floor():
    quiet = noise(16000)
    quiet[4000:8000] *= 1e-4
    quiet[8000:12000] = 0
    found, _ = LogMel().log_mel(quiet.unsqueeze(0), torch.tensor([16000]))
    expected = numpy_log_mel(quiet.numpy(), 16000, 80)
    assert 0.2 < (expected == np.log(1e-7)).mean() < 0.6
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-4)


def test_a_sine_is_loudest_in_the_band_around_its_frequency():
    seconds = torch.arange(16000) / 16000
    found, _ = LogMel().log_mel(torch.sin(2 * np.pi * 1000 * seconds)[None], torch.tensor([16000]))
    # Band m of 80 is centred at (m + 1) / 81 of the way to 8 kHz in mel: 1000 Hz lies in 27 or 28.
    nearest = round(hertz_to_mel(1000) / hertz_to_mel(8000) * 81) - 1
    assert found[0, 50].argmax() == nearest


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_there_are_samples_divided_by_hop_frames(sample_rate):
    features = LogMel(sample_rate, 40)
    hop = sample_rate // 100
    for samples in [0, 1, hop - 1, hop, hop + 1, 2 * hop - 1, 10 * hop, 10 * hop + 7]:
        waveform = noise(samples)
        found, lengths = features(waveform.unsqueeze(0), torch.tensor([samples]))
        assert lengths.tolist() == [samples // hop]
        assert lengths.dtype == torch.int64
        assert found.shape == (1, max(1, samples // hop), 40)
        assert found.isfinite().all()


@pytest.mark.parametrize("normalize", ["mean", "utterance", "none"])
@pytest.mark.parametrize("floor_db", [None, 20.0])
def test_an_utterance_alone_is_as_in_a_batch_with_garbage_behind_it(normalize, floor_db):
    features = LogMel(normalize=normalize, floor_db=floor_db)
    waveforms = [noise(samples, seed) for seed, samples in enumerate([16000, 159, 5003, 11111])]
    batch, sample_lengths = pad_sequences([*waveforms, noise(20000)])
    for row, samples in enumerate(sample_lengths.tolist()):
        batch[row, samples:] = float("nan")
    found, lengths = features(batch, sample_lengths)
    for row, waveform in enumerate(waveforms):
        frames = int(lengths[row])
        torch.testing.assert_close(
            found[row, :frames], alone(features, waveform)[:frames], atol=1e-5, rtol=1e-6
        )
        assert found[row, frames:].eq(0).all()


def test_silent_bands_are_the_same_alone_and_in_a_batch():
    # Their spread is near 0: normalisation multiplies whatever rounding error there is by 100.
    features = LogMel(normalize="utterance")
    hum = 0.3 * torch.sin(torch.arange(50000) / 50)
    click = torch.zeros(33333)
    click[20000] = 0.001
    for waveform in (torch.zeros(12345), hum, click):
        batch, lengths = pad_sequences([waveform, noise(90000)])
        found = features(batch, lengths)[0][0, : len(waveform) // 160]
        torch.testing.assert_close(found, alone(features, waveform), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("floor_db", [None, 20.0])
def test_digital_silence_gives_zeros(floor_db):
    assert alone(LogMel(floor_db=floor_db), torch.zeros(16000)).eq(0).all()


def test_a_floor_adds_the_mean_power_of_white_noise():
    waveform = noise(8000)
    power = np.exp(numpy_log_mel(waveform.numpy(), 16000, 40))
    # Noise of variance 1, heard often enough, has the power that its formula says.
    bands = triangular_filters(16000, 512, 40).sum(axis=0)
    draw = np.random.default_rng(0)
    heard = np.exp(numpy_log_mel(draw.standard_normal(800_000), 16000, 40)).mean(axis=0)
    np.testing.assert_allclose(heard / heard.sum(), bands / bands.sum(), rtol=0.05)
    noise_power = 10 ** (-15 / 10) * power.sum(axis=1).mean() * bands / bands.sum()
    found = alone(LogMel(n_mels=40, normalize="none", floor_db=15.0), waveform)
    np.testing.assert_allclose(found.numpy(), np.log(power + noise_power), atol=2e-4)


def test_with_a_floor_loudness_does_not_matter_and_less_noise_looks_alike():
    speech = noise(16000)
    speech[8000:] *= 1e-3
    hiss = torch.from_numpy(np.random.default_rng(1).standard_normal(16000).astype("float32"))
    hiss *= speech.square().mean().sqrt()

    def spread(features, decibels):
        there, here = (alone(features, speech + 10 ** (-db / 20) * hiss) for db in decibels)
        return float((there - here).abs().mean())

    floored = LogMel(floor_db=20.0)
    torch.testing.assert_close(
        alone(floored, 3 * speech), alone(floored, speech), atol=1e-4, rtol=0
    )
    assert spread(floored, (40, 60)) < 0.1 * spread(LogMel(), (40, 60))


@pytest.mark.parametrize("samples", [100, 8001])
def test_a_floor_under_blocks_is_that_under_the_whole(samples):
    features, waveform = LogMel(floor_db=20.0), noise(samples)
    blocks = list(features.stream_log_mel(waveform.split(777)))
    running = RunningNormalization("mean", features.floor.numpy())
    for block in blocks:
        running.add(block)
    finer = running.again()
    for block in blocks:
        finer.add(block)
    assert finer.again() is None
    found = torch.cat([torch.empty(0, 80), *map(finer.apply, blocks)])
    expected = alone(features, waveform)[: samples // 160]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_each_band_has_zero_mean_and_unit_variance_over_its_own_frames():
    batch, sample_lengths = pad_sequences([noise(16000), noise(6400)])
    found, lengths = LogMel(normalize="utterance")(batch, sample_lengths)
    for row, frames in zip(found.double().numpy(), lengths.tolist(), strict=True):
        np.testing.assert_allclose(row[:frames].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(row[:frames].var(axis=0), 1, atol=1e-4)


def test_by_default_each_band_loses_its_mean_and_all_are_divided_by_one_number():
    waveform = noise(16000)
    expected = numpy_log_mel(waveform.numpy(), 16000, 80)
    expected = (expected - expected.mean(axis=0)) / 2.5
    np.testing.assert_allclose(alone(LogMel(), waveform).numpy(), expected, atol=2e-4)


def test_without_normalisation_the_logarithms_stay():
    waveform = noise(4000)
    expected = numpy_log_mel(waveform.numpy(), 16000, 80)
    found = alone(LogMel(normalize="none"), waveform)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("samples", [5, 160, 500, 8001])
@pytest.mark.parametrize("block", [1, 37, 160, 1600, 100000])
def test_blocks_of_any_size_give_the_frames_of_the_whole(features, samples, block):
    waveform = noise(samples)
    whole, lengths = features.log_mel(waveform.unsqueeze(0), torch.tensor([samples]))
    pieces = list(features.stream_log_mel(waveform.split(block)))
    joined = torch.cat([torch.empty(0, 80), *pieces])
    torch.testing.assert_close(joined, whole[0, : int(lengths)], atol=1e-5, rtol=1e-6)


def test_no_blocks_give_no_frames(features):
    assert list(features.stream_log_mel([])) == []


def test_autocast_changes_nothing(features):
    waveform = noise(8000)
    expected = alone(features, waveform)
    with torch.autocast("cpu", torch.bfloat16):
        found = alone(features, waveform)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_a_saved_model_carries_no_tables(features):
    assert features.state_dict() == {}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"normalize": "global"}, "features.normalize is 'global'; expected one of mean"),
        ({"hop_ms": 30.0}, "hop_ms 30.0 must be positive and at most window_ms 25.0"),
        ({"hop_ms": 0.0}, "hop_ms 0.0 must be positive"),
        ({"floor_db": 0.0}, "floor_db is 0.0; expected above 0 and at most 100, or null"),
        ({"n_mels": 0}, "n_mels is 0; expected 1 or more"),
        ({"sample_rate": 8000, "n_mels": 128}, "bands hold no spectral bin at 8000 Hz"),
    ],
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_impossible_options_are_refused(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        LogMel(**options)
