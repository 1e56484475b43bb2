"""Noise, rooms and joined utterances: the levels asked for, and the same whoever reads them."""

import numpy as np
import pytest
import torch
import torchaudio
from torch.utils.data import DataLoader

from asr.audio import write_flac
from asr.augment import (
    Babble,
    RecordedNoise,
    Room,
    SpeedPerturbation,
    UtteranceJoining,
    WhiteNoise,
)
from asr.augment.noise import mix, repeated
from asr.augment.room import convolve, impulse_response
from asr.data import BatchSampler, SpeechDataset
from asr.errors import AudioError, ConfigError
from asr.excerpt import load_excerpt
from asr.manifest import Utterance, write_manifest
from asr.tokenizer import CharacterTokenizer
from asr.training.sound import sound_augmentation, utterance_joining

RATE = 8000
LETTERS = CharacterTokenizer("AB ")


def sound_of(seed, samples=6000):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


def level_db(waveform):
    return 10 * np.log10(np.sum(waveform.astype(np.float64) ** 2))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    found = []
    for number in range(24):
        samples = 900 + 151 * number
        write_flac(folder / f"{number}.flac", sound_of(number, samples), RATE)
        path, speaker = str(folder / f"{number}.flac"), "ab"[number % 2]
        found.append(Utterance(f"u{number}", path, samples / RATE, "AB", speaker))
    return found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noises")
    (folder / "below").mkdir()
    for number, path in enumerate(("short.wav", "below/long.flac")):
        write_flac(folder / path, sound_of(90 + number, (700, 30_000)[number]), RATE)
    (folder / "readme.txt").write_text("no sound")
    return folder


def kinds(utterances, recordings, probability=1.0):
    return [
        WhiteNoise(probability, (5, 25)),
        Babble(utterances, RATE, probability, (5, 25), voices=(2, 4)),
        RecordedNoise(RATE, str(recordings), probability, (5, 25)),
    ]


def test_noise_has_the_ratio_that_was_drawn():
    for seed, snr_db in enumerate((-5.0, 0.0, 13.7, 30.0)):
        speech, noise = sound_of(seed), sound_of(seed + 50)
        added = mix(speech, noise, snr_db).astype(np.float64) - speech
        assert level_db(speech) - level_db(added) == pytest.approx(snr_db, abs=0.01)
        expected = torchaudio.functional.add_noise(
            *(torch.from_numpy(each).double() for each in (speech, noise)),
            torch.tensor(snr_db, dtype=torch.float64),
        )
        np.testing.assert_allclose(mix(speech, noise, snr_db), expected, atol=1e-5)


def test_ratios_fill_the_range_evenly(utterances, recordings):
    speech = sound_of(1)
    for kind in kinds(utterances, recordings):
        found = [level_db(speech) - level_db(kind(speech, seed, 0) - speech) for seed in range(100)]
        assert 4.99 < min(found) < 7 and 23 < max(found) < 25.01
        assert np.mean(found) == pytest.approx(15, abs=2)


def test_noise_comes_as_often_as_asked_and_keeps_silence(utterances, recordings):
    speech = sound_of(1)
    for kind in kinds(utterances, recordings, probability=0.3):
        changed = [kind(speech, seed, 0) is not speech for seed in range(150)]
        assert np.mean(changed) == pytest.approx(0.3, abs=0.1)
    silence = np.zeros(500, np.float32)
    for kind in kinds(utterances, recordings):
        assert not kind(silence, 1, 0).any()


def test_white_noise_is_white():
    noise = WhiteNoise(1.0).noise(1 << 16, np.random.default_rng(0), 0)
    power = (np.abs(np.fft.rfft(noise)) ** 2)[1:].reshape(16, -1).mean(axis=1)
    np.testing.assert_allclose(power / power.mean(), 1, atol=0.1)


def test_babble_is_the_sum_of_other_utterances_equally_loud(utterances):
    babble = Babble(utterances, RATE, 1.0, voices=(3, 3))
    for index, samples in ((0, 900), (5, 2500), (23, 6000)):
        generator = np.random.default_rng(index)
        found = babble.noise(samples, generator, index).astype(np.float64)
        generator = np.random.default_rng(index)
        assert generator.integers(3, 4) == 3
        places = generator.choice(23, 3, replace=False).tolist()
        expected = np.zeros(samples)
        for other in (place + (place >= index) for place in places):
            assert other != index
            length = 900 + 151 * other
            voice = np.rint(sound_of(other, length) * 32768) / 32768
            start = generator.random() * (length - samples if length > samples else length)
            start = round(start) if length > samples else int(start)
            voice = np.tile(voice, 8)[start : start + samples]
            expected += voice / np.linalg.norm(voice)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_short_sound_starts_over_and_a_long_one_is_cut():
    sound = np.arange(5, dtype=np.float32)
    assert repeated(sound, 1, 3).tolist() == [1, 2, 3]
    assert repeated(sound, 3, 9).tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_recordings_are_found_in_a_folder_or_a_manifest(recordings, tmp_path):
    in_folder = RecordedNoise(RATE, str(recordings), 1.0)
    assert [u.duration for u in in_folder.recordings] == [30_000 / RATE, 700 / RATE]
    write_manifest(tmp_path / "noise.jsonl", in_folder.recordings)
    in_manifest = RecordedNoise(RATE, str(tmp_path / "noise.jsonl"), 1.0)
    speech = sound_of(2)
    for seed in range(4):
        np.testing.assert_array_equal(in_folder(speech, seed, 0), in_manifest(speech, seed, 0))
    with pytest.raises(ConfigError, match=r"augment\.noise\.recordings\.source is .*nowhere"):
        RecordedNoise(RATE, str(tmp_path / "nowhere"), 1.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="without any recording"):
        RecordedNoise(RATE, str(tmp_path / "empty"), 1.0)


def test_an_excerpt_is_that_of_the_whole(recordings, tmp_path):
    whole = np.rint(sound_of(91, 30_000) * 32768) / 32768
    for start, samples in ((0.0, 10), (1.25, 4000), (3.5, 4000)):
        found = load_excerpt(recordings / "below/long.flac", RATE, start, samples / RATE)
        first = round(start * RATE)
        np.testing.assert_array_equal(found, whole[first : first + samples])
    assert len(load_excerpt(recordings / "below/long.flac", 16_000, 1.0, 0.5)) == 8000
    with pytest.raises(AudioError, match=r"no sound at 9\.00 s"):
        load_excerpt(recordings / "below/long.flac", RATE, 9.0, 1.0)
    with pytest.raises(AudioError, match=r"missing\.flac"):
        load_excerpt(tmp_path / "missing.flac", RATE, 0.0, 1.0)


@pytest.mark.parametrize(("rt60", "ratio_db"), [(0.2, 0.0), (0.5, 12.0), (0.8, 5.0)])
def test_an_impulse_response_decays_and_is_as_strong_as_asked(rt60, ratio_db):
    response = impulse_response(16_000, rt60, ratio_db, np.random.default_rng(3))
    echoes = response[1:].astype(np.float64) ** 2
    assert response[0] == 1
    assert -10 * np.log10(echoes.sum()) == pytest.approx(ratio_db, abs=0.01)
    # Schroeder 1965: the energy still to come falls by 60 dB in the reverberation time; the fit
    # from -5 to -25 dB is T20 of ISO 3382.
    decay = 10 * np.log10(np.cumsum(echoes[::-1])[::-1] / echoes.sum())
    fitted = np.flatnonzero((decay < -5) & (decay > -25))
    slope = np.polyfit(fitted / 16_000, decay[fitted], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.05)


def test_convolution_is_numpys():
    speech, response = sound_of(1, 5001), sound_of(2, 700)
    exact = np.convolve(speech.astype(np.float64), response.astype(np.float64))[:5001]
    np.testing.assert_allclose(convolve(speech, response), exact, atol=1e-5 * np.abs(exact).max())


def test_a_room_keeps_times_length_and_energy():
    clicks = np.zeros(4000, np.float32)
    clicks[[500, 2500]] = 0.5
    room = Room(RATE, 1.0, direct_to_reverberant_db=(3, 10))
    for seed in range(20):
        found = room(clicks, seed, 0)
        assert found.dtype == np.float32 and len(found) == 4000
        assert level_db(found) == pytest.approx(level_db(clicks), abs=0.01)
        assert set(np.argsort(np.abs(found))[-2:]) == {500, 2500}
        assert np.abs(found[:500]).max() < 1e-6
    silence = np.zeros(100, np.float32)
    assert not room(silence, 1, 0).any()


def loaded(utterances, recordings, workers=0, rank=0, world_size=1, done=0, alone=False):
    """Read an epoch with all augmentation, or the rest of it, as training does."""
    speed = SpeedPerturbation()
    sound = [Room(RATE, 0.5), *kinds(utterances, recordings, 0.5)]
    dataset = SpeechDataset(utterances, LETTERS, RATE, speed, sound=sound)
    join = UtteranceJoining(utterances, 0.5)
    sampler = BatchSampler(
        utterances,
        2.0,
        seed=3,
        speed=speed,
        join=join,
        sorted_epochs=3,
        rank=rank,
        world_size=world_size,
    )
    sampler.resume(2, done)
    batches = [[draw] for batch in sampler for draw in batch] if alone else sampler
    loader = DataLoader(
        dataset, batch_sampler=batches, collate_fn=lambda batch: batch, num_workers=workers
    )
    return list(loader)


def rows(batches):
    return {
        name: (text, waveform[:samples], tokens[:count])
        for batch in batches
        for name, text, waveform, samples, tokens, count in zip(
            batch.ids,
            batch.texts,
            batch.waveforms,
            batch.sample_lengths,
            batch.tokens,
            batch.token_lengths,
            strict=True,
        )
    }


@pytest.mark.parametrize(
    "way",
    [{"workers": 2}, {"alone": True}, {"rank": 0, "world_size": 2}, {"done": 2}],
    ids=["workers", "batches of one", "two ranks", "a restart"],
)
def test_nobody_who_reads_changes_what_is_heard(way, utterances, recordings):
    whole = loaded(utterances, recordings)
    expected, found = rows(whole), rows(loaded(utterances, recordings, **way))
    if "world_size" in way:
        found |= rows(loaded(utterances, recordings, rank=1, world_size=2))
    if "done" in way:
        expected = rows(whole[2:])
    assert found.keys() == expected.keys()
    for name, (text, waveform, tokens) in expected.items():
        assert found[name][0] == text
        assert found[name][1].equal(waveform) and found[name][2].equal(tokens), name


def test_other_epochs_sound_otherwise(utterances, recordings):
    kind = kinds(utterances, recordings)
    assert all(
        not np.array_equal(each(sound_of(1), 1, 0), each(sound_of(1), 2, 0)) for each in kind
    )


def test_joined_utterances_are_one_behind_the_other(utterances):
    dataset = SpeechDataset(utterances, LETTERS, RATE)
    sampler = BatchSampler(utterances, 2.0, join=UtteranceJoining(utterances, 1.0))
    joined = [draw for batch in sampler.batches(0) for draw in batch if draw.follower >= 0]
    assert len(joined) > 10
    for draw in joined:
        parts = [utterances[draw.utterance], utterances[draw.follower]]
        example = dataset[draw]
        assert example.id == f"{parts[0].id}+{parts[1].id}" and parts[0] != parts[1]
        assert parts[0].speaker == parts[1].speaker
        assert (example.text, example.tokens.tolist()) == ("AB AB", LETTERS.encode("AB AB"))
        samples = [round(part.duration * RATE) for part in parts]
        whole = [dataset[draw._replace(follower=-1)].waveform]
        whole.append(dataset[draw._replace(utterance=draw.follower, follower=-1)].waveform)
        assert [len(waveform) for waveform in whole] == samples
        assert example.waveform.equal(torch.cat(whole))


@pytest.mark.parametrize("same_speaker", [True, False])
@pytest.mark.parametrize("max_seconds", [None, 0.35, 5.0])
def test_joining_keeps_to_its_limit_and_reaches_all(utterances, same_speaker, max_seconds):
    join = UtteranceJoining(utterances, 0.5, max_seconds, same_speaker)
    limit = max_seconds or max(u.duration for u in utterances)
    pairs = {
        (a, b)
        for a, one in enumerate(utterances)
        for b, other in enumerate(utterances)
        if a != b
        and one.duration + other.duration <= limit
        and (one.speaker == other.speaker or not same_speaker)
    }
    found: set[tuple[int, int]] = set()
    shares = []
    for epoch in range(400):
        followers = join.followers([1000 * epoch + place for place in range(len(utterances))])
        found |= {(a, b) for a, b in enumerate(followers.tolist()) if b >= 0}
        shares.append((followers >= 0).sum() / max(1, len({a for a, _ in pairs})))
    assert found <= pairs and len(found) > 0.98 * len(pairs)
    assert np.mean(shares) == pytest.approx(0.5 if pairs else 0, abs=0.03)
    longest = max((utterances[a].duration + utterances[b].duration for a, b in pairs), default=0)
    assert join.longest_seconds == pytest.approx(longest)


def test_batches_of_joined_utterances_are_no_longer_than_asked(utterances):
    join = UtteranceJoining(utterances, 0.7, max_seconds=0.9)
    speed = SpeedPerturbation((0.9, 1.1))
    sampler = BatchSampler(utterances, 2.0, join=join, speed=speed)
    real = padded = 0.0
    for batch in sampler.batches(1):
        seconds = [
            sum(utterances[place].duration for place in (draw[0], draw.follower) if place >= 0)
            / speed.factor(draw.seed)
            for draw in batch
        ]
        assert seconds == sorted(seconds, reverse=True)
        assert max(seconds) * len(seconds) <= 2.0
        real, padded = real + sum(seconds), padded + max(seconds) * len(seconds)
    assert sampler.padding_share(1) == pytest.approx(1 - real / padded)
    assert sampler.heard_seconds(1) == pytest.approx(real)
    with pytest.raises(ConfigError, match=r"joined utterances take up to 1\.\d seconds"):
        BatchSampler(utterances, 0.95, join=join, speed=speed)


def test_first_epochs_go_from_short_to_long(utterances):
    shuffled = BatchSampler(utterances, 1.0, seed=1)
    rising = BatchSampler(utterances, 1.0, seed=1, sorted_epochs=2)
    for epoch in range(4):
        usual, batches = shuffled.batches(epoch), rising.batches(epoch)
        longest = [utterances[batch[0].utterance].duration for batch in batches]
        assert (longest == sorted(longest)) == (epoch < 2)
        # The same batches, in another order.
        assert sorted(usual) == sorted(batches)
        assert (usual == batches) == (epoch >= 2)
        parts = [list(rising_part(rising, epoch, rank)) for rank in range(2)]
        together = [sorted(a + b) for a, b in zip(*parts, strict=True)]
        assert together == [sorted(batch) for batch in batches]


def rising_part(sampler, epoch, rank):
    sampler.set_epoch(epoch)
    sampler.rank, sampler.world_size = rank, 2
    try:
        return [[draw for draw in batch if draw.weight] for batch in sampler]
    finally:
        sampler.rank, sampler.world_size = 0, 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": {"white": {"probability": 2}}}, r"augment\.noise\.white\.probability is 2"),
        ({"noise": {"white": {}}}, r"augment\.noise\.white lacks probability"),
        ({"noise": {"pink": {}}}, r"unknown key 'augment\.noise\.pink'"),
        (
            {"noise": {"white": {"probability": 1, "snr_db": [20, 10]}}},
            r"augment\.noise\.white\.snr_db is \[20, 10\]",
        ),
        (
            {"noise": {"babble": {"probability": 1, "voices": [3, 24]}}},
            r"augment\.noise\.babble\.voices is \[3, 24\], but there are 24 utterances",
        ),
        ({"noise": {"babble": {"probability": 1, "voices": [0, 3]}}}, r"babble\.voices is \[0, 3"),
        ({"room": {"probability": 1, "rt60_seconds": [0, 1]}}, r"augment\.room\.rt60_seconds"),
        ({"room": {"probability": 1, "rt60": [0.1, 1]}}, "did you mean 'rt60_seconds'"),
        ({"join": {"probability": -1}}, r"augment\.join\.probability is -1"),
        ({"join": {"probability": 1, "max_seconds": 0}}, r"augment\.join\.max_seconds is 0"),
    ],
)
def test_impossible_options_are_refused(options, said, utterances):
    with pytest.raises(ConfigError, match=said):
        sound_augmentation(options, utterances, RATE)
        utterance_joining(options, utterances, LETTERS)


def test_babble_out_of_shards_is_refused_and_so_is_a_space_that_cannot_be_written(utterances):
    far = [*utterances, Utterance("x", "s/train-0.tar#offset=5&size=9&crc32=00aa00aa.flac", 1, "A")]
    with pytest.raises(ConfigError, match=r"augment\.noise\.babble .* lie in shards here.*'x'"):
        sound_augmentation({"noise": {"babble": {"probability": 1}}}, far, RATE)
    with pytest.raises(ConfigError, match=r"augment\.join puts a space"):
        utterance_joining({"join": {"probability": 1}}, utterances, CharacterTokenizer("AB"))
