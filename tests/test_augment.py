"""Augmentation: the same for the same seed, within its limits."""

import numpy as np
import pytest
import torch

from asr.augment import (
    Equalizer,
    FrequencyWarp,
    SpecAugment,
    SpeedPerturbation,
    utterance_seed,
)
from asr.errors import ConfigError
from asr.features import LogMel

RATE = 16000


def runs(flags):
    """Lengths of the stretches of True."""
    edges = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


def masks(augment, seed, length=200, bands=80):
    """Which frames and which bands of an utterance of ones are masked."""
    features = torch.ones(1, length, bands)
    found = augment(features, torch.tensor([length]), torch.tensor([seed]))[0].numpy() == 0
    return found.all(axis=1), found.all(axis=0)


def test_seeds_of_utterances_never_change():
    # Values that resumed trainings rely on.
    assert utterance_seed(0, 0, "") == 2983391018023814528
    assert utterance_seed(1, 2, "84-121123-0000") == 9197170844645185986
    assert utterance_seed(1, 3, "84-121123-0000") == 5922224178165007762


def test_seeds_differ_between_runs_epochs_and_utterances():
    seeds = {utterance_seed(s, e, u) for s in range(5) for e in range(5) for u in "abcde"}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_utterances_masks_do_not_depend_on_its_batch():
    augment = SpecAugment()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 120, 80, generator=generator)
    lengths, seeds = torch.tensor([120, 80, 33]), torch.tensor([11, 12, 13])
    batch = augment(features, lengths, seeds)
    for row in (2, 0, 1):
        frames = int(lengths[row])
        one = augment(features[row : row + 1, :frames], lengths[row : row + 1], seeds[row][None])
        assert one[0].equal(batch[row, :frames])


def test_another_seed_gives_other_masks():
    found = [masks(SpecAugment(), seed) for seed in range(10)]
    assert len({(frames.tobytes(), bands.tobytes()) for frames, bands in found}) == 10


def test_only_whole_bands_and_whole_frames_are_set_to_zero():
    features = torch.randn(1, 200, 80) + 10
    found = SpecAugment()(features, torch.tensor([200]), torch.tensor([3]))[0].numpy()
    frames, bands = masks(SpecAugment(), 3)
    expected = np.where(frames[:, None] | bands[None, :], 0, features[0].numpy())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("length", [400, 100, 9, 1])
def test_masks_stay_within_their_widths_and_reach_them(length):
    augment = SpecAugment(1, 27, 1, 40, time_ratio=0.2)
    widest_time = min(40, length // 5)
    times, bands = zip(*(masks(augment, seed, length) for seed in range(600)), strict=True)
    time_widths = [sum(runs(flags)) for flags in times]
    band_widths = [sum(runs(flags)) for flags in bands]
    assert (min(time_widths), max(time_widths)) == (0, widest_time)
    assert (min(band_widths), max(band_widths)) == (0, 27)
    assert all(len(runs(flags)) <= 1 for flags in [*times, *bands])


def test_the_number_of_masks_is_kept():
    augment = SpecAugment(2, 8, 3, 10, time_ratio=1.0)
    found = [masks(augment, seed, 1000) for seed in range(100)]
    assert max(len(runs(frames)) for frames, _ in found) == 3
    assert max(len(runs(bands)) for _, bands in found) == 2


def test_masks_never_cover_padding_only():
    augment = SpecAugment(0, 0, 1, 50, time_ratio=1.0)
    features = torch.ones(1, 100, 4)
    for seed in range(50):
        found = augment(features, torch.tensor([20]), torch.tensor([seed]))
        assert found[:, 20:].eq(1).all()


def test_no_masks_change_nothing():
    features = torch.randn(2, 30, 8)
    for augment in (SpecAugment(0, 27, 0, 40), SpecAugment(2, 0, 2, 0)):
        found = augment(features, torch.tensor([30, 20]), torch.tensor([1, 2]))
        assert found.equal(features)


def test_an_utterance_without_frames_is_let_be():
    found = SpecAugment()(torch.zeros(1, 1, 80), torch.tensor([0]), torch.tensor([1]))
    assert found.shape == (1, 1, 80)


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.5])
def test_speed_divides_the_length_and_multiplies_the_pitch(factor):
    seconds = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    faster = SpeedPerturbation((factor,))(tone, seed=0)
    assert faster.dtype == np.float32
    assert abs(len(faster) - len(tone) / factor) <= 1
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    peak = spectrum.argmax() * RATE / len(faster)
    assert peak == pytest.approx(1000 * factor, abs=RATE / len(faster))
    assert np.abs(faster[1000:-1000]).max() == pytest.approx(1, abs=0.01)


def test_speed_1_returns_the_waveform_itself():
    waveform = np.ones(100, np.float32)
    assert SpeedPerturbation((1.0,))(waveform, 5) is waveform


def test_speeds_are_drawn_equally_often():
    speed = SpeedPerturbation()
    drawn = [speed.factor(utterance_seed(0, 0, str(i))) for i in range(3000)]
    for factor in (0.9, 1.0, 1.1):
        # Binomial: a standard deviation is 26.
        assert abs(drawn.count(factor) - 1000) < 130


@pytest.mark.parametrize("factors", [(), (0.4,), (1.0, 2.5), (float("nan"),), ("1.1",)])
def test_impossible_speeds_are_refused(factors):
    with pytest.raises(ConfigError, match=r"expected speeds in \[0\.5, 2\]"):
        SpeedPerturbation(factors)


@pytest.mark.parametrize("options", [{"time_ratio": 1.5}, {"time_masks": -1}])
def test_impossible_masks_are_refused(options):
    with pytest.raises(ConfigError, match="augment"):
        SpecAugment(**options)


def peak_hertz(features, centres):
    """Where a batch's spectra peak, between bands too: the middle of mass above the floor."""
    mass = features.mean(dim=1).clamp_min(0).double()
    return ((mass * centres).sum(dim=1) / mass.sum(dim=1)).numpy()


def test_the_bands_lie_where_torchaudio_puts_its_filters():
    features = LogMel(sample_rate=16000, n_mels=80)
    filters = features.mel.mel_scale.fb.double()
    bins = torch.linspace(0, 8000, len(filters), dtype=torch.float64)
    # The narrow filters at the bottom hold too few bins to have a middle.
    middles = (filters * bins[:, None]).sum(dim=0) / filters.sum(dim=0)
    np.testing.assert_allclose(features.band_centres()[40:], middles[40:], rtol=0.01)


def test_a_warped_peak_moves_to_its_frequency_over_the_factor():
    centres = LogMel().band_centres()
    warp = FrequencyWarp(centres, 0.2)
    peak = torch.exp(-((centres - 2000) ** 2) / (2 * 150**2)).float().expand(20, 5, 80)
    seeds = torch.arange(20)
    found = peak_hertz(warp(peak, torch.full((20,), 5), seeds), centres)
    factors = np.array(
        [np.exp(np.random.default_rng([seed, 1]).uniform(-0.2, 0.2)) for seed in range(20)]
    )
    straight = peak_hertz(peak, centres)
    np.testing.assert_allclose(found, straight / factors, rtol=0.02)


def test_an_utterances_warp_does_not_depend_on_its_batch_and_leaves_padding_alone():
    warp = FrequencyWarp(LogMel().band_centres(), 0.1)
    features = torch.randn(3, 50, 80)
    lengths = torch.tensor([50, 30, 20])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 0
    seeds = torch.tensor([5, 6, 7])
    batch = warp(features, lengths, seeds)
    for row, length in enumerate(lengths.tolist()):
        alone = warp(features[row : row + 1, :length], lengths[row : row + 1], seeds[row][None])
        torch.testing.assert_close(batch[row, :length], alone[0])
        assert not batch[row, length:].any()


def test_a_flat_spectrum_stays_flat_under_any_warp():
    found = FrequencyWarp(LogMel(8000, 64).band_centres(), 0.5)(
        torch.ones(50, 2, 64), torch.full((50,), 2), torch.arange(50)
    )
    torch.testing.assert_close(found, torch.ones(50, 2, 64))


@pytest.mark.parametrize("widest", [0.0, -0.1, 0.6])
def test_an_impossible_warp_is_refused(widest):
    with pytest.raises(ConfigError, match=r"augment\.warp"):
        FrequencyWarp(LogMel().band_centres(), widest)


def test_an_equalizer_changes_bands_by_as_many_decibels_as_asked():
    equalizer = Equalizer(3.0, unit_db=10.0)
    seeds = torch.arange(4000)
    flat = equalizer(torch.zeros(4000, 1, 40), torch.ones(4000, dtype=torch.int64), seeds)
    curves = 10 * flat[:, 0].double().numpy()
    assert np.sqrt(np.mean(curves**2)) == pytest.approx(3.0, rel=0.03)
    assert np.abs(curves.mean(axis=0)).max() < 0.3
    # Smooth: constant and three cosines, the share of each falling with the square of its order.
    place = (np.arange(40) + 0.5) / 40
    waves = np.cos(np.pi * np.outer(np.arange(4), place))
    sizes, *_ = np.linalg.lstsq(waves.T, curves.T, rcond=None)
    np.testing.assert_allclose(waves.T @ sizes, curves.T, atol=1e-5)
    deviations = sizes.std(axis=1)
    np.testing.assert_allclose(deviations / deviations[0], [1, 1 / 2, 1 / 3, 1 / 4], rtol=0.06)


@pytest.mark.parametrize("normalize", ["none", "mean"])
def test_a_decibel_in_the_features_is_one_of_the_sound(normalize):
    features = LogMel(n_mels=40, normalize=normalize)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, 32_000)).float()
    louder = noise.clone()
    louder[16_000:] *= 10 ** (6 / 20)
    lengths = torch.tensor([32_000, 32_000])
    found, _ = features(torch.stack([noise, louder]), lengths)
    halves = torch.stack([found[:, 20:80].mean(dim=1), found[:, 120:180].mean(dim=1)])
    gained = (halves[1] - halves[0])[1] - (halves[1] - halves[0])[0]
    torch.testing.assert_close(gained * features.unit_db, torch.full((40,), 6.0), atol=1e-2, rtol=0)


def test_an_utterances_equalizer_does_not_depend_on_its_batch_and_leaves_padding_alone():
    equalizer = Equalizer(3.0, 10.0)
    features = torch.randn(3, 50, 40)
    lengths, seeds = torch.tensor([50, 30, 20]), torch.tensor([5, 6, 7])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 0
    batch = equalizer(features, lengths, seeds)
    for row, length in enumerate(lengths.tolist()):
        own = slice(row, row + 1)
        alone = equalizer(features[own, :length], lengths[own], seeds[own])
        assert torch.equal(batch[row, :length], alone[0])
        assert not batch[row, length:].any()
        # One curve for the whole utterance.
        change = batch[row, :length] - features[row, :length]
        torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-6, rtol=0)
    assert not torch.equal(equalizer(features, lengths, seeds ^ 1), batch)


@pytest.mark.parametrize("deviation", [0.0, -1.0, 21.0])
def test_an_impossible_equalizer_is_refused(deviation):
    with pytest.raises(ConfigError, match=r"augment\.equalizer"):
        Equalizer(deviation, 10.0)
