"""Batches by seconds: whole, repeatable, the same on any number of devices, little padding."""

from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from asr.audio import write_flac
from asr.augment import SpeedPerturbation, utterance_seed
from asr.ctc import required_frames
from asr.data import BatchSampler, SpeechDataset, TokenizedTranscripts, collate
from asr.data.sampler import Draw, ValidationSampler
from asr.errors import AudioError, ConfigError, TokenizerError
from asr.manifest import Utterance
from asr.padding import pad_sequences
from asr.tokenizer import CharacterTokenizer

SECONDS = 30.0


def utterances(count, seed=0):
    durations = np.random.default_rng(seed).gamma(4, 1, count).clip(0.3, 20)
    return [Utterance(f"u{i}", f"/{i}.flac", float(d), "A") for i, d in enumerate(durations)]


def drawn(sampler):
    return [draw for batch in sampler for draw in batch]


def real_utterances(files):
    infos = [(str(path), soundfile.info(str(path)).duration) for path in sorted(files)]
    return [Utterance(path, path, duration, "") for path, duration in infos]


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 300), seed=st.integers(0, 2**32), shuffle=st.booleans())
def test_every_utterance_comes_once_an_epoch(count, seed, shuffle):
    sampler = BatchSampler(utterances(count, seed), SECONDS, seed=seed, shuffle=shuffle)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert sorted(draw.utterance for draw in drawn(sampler)) == list(range(count))


@pytest.mark.parametrize("speed", [None, SpeedPerturbation()])
def test_no_batch_is_longer_than_asked_padding_counted(speed):
    listed = utterances(500)
    sampler = BatchSampler(listed, SECONDS, speed=speed)
    for batch in sampler:
        factors = [speed.factor(draw.seed) if speed else 1.0 for draw in batch]
        seconds = [
            listed[draw.utterance].duration / f for draw, f in zip(batch, factors, strict=True)
        ]
        assert max(seconds) * len(seconds) <= SECONDS
        assert seconds == sorted(seconds, reverse=True)


def test_batches_follow_from_seed_and_epoch():
    def order(seed, epoch):
        sampler = BatchSampler(utterances(200), SECONDS, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


def test_epochs_mix_utterances_anew():
    sampler = BatchSampler(utterances(500), SECONDS)
    together = [
        {frozenset(draw.utterance for draw in batch) for batch in sampler.batches(epoch)}
        for epoch in range(2)
    ]
    assert len(together[0] & together[1]) < 0.1 * len(together[0])


def test_seeds_are_those_of_the_utterances_in_the_epoch():
    sampler = BatchSampler(utterances(50), SECONDS, seed=7)
    sampler.set_epoch(2)
    assert all(draw.seed == utterance_seed(7, 2, f"u{draw.utterance}") for draw in drawn(sampler))


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 200), world_size=st.sampled_from([2, 3, 8]), seed=st.integers(0, 99))
def test_ranks_share_the_batches_of_one_process(count, world_size, seed):
    listed = utterances(count, seed)
    single = list(BatchSampler(listed, SECONDS, seed=seed))
    ranks = [
        list(BatchSampler(listed, SECONDS, seed=seed, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(single)}
    for step, whole in enumerate(single):
        shares = [batches[step] for batches in ranks]
        assert all(shares)
        real = [draw for share in shares for draw in share if draw.weight]
        assert sorted(real) == sorted(whole)
        assert {draw.total for share in shares for draw in share} == {len(whole)}
        assert sum(draw.weight for share in shares for draw in share) == len(whole)


@pytest.mark.parametrize("world_size", [1, 2])
def test_resuming_gives_the_remaining_batches(world_size):
    def sampler():
        return BatchSampler(utterances(200), SECONDS, seed=1, rank=0, world_size=world_size)

    whole = sampler()
    whole.set_epoch(4)
    batches = list(whole)
    for done in (0, 1, 7, len(batches)):
        resumed = sampler()
        resumed.resume(4, done)
        # Lightning announces the epoch again before it goes on.
        resumed.set_epoch(4)
        assert list(resumed) == batches[done:]
        assert list(resumed) == batches


def test_the_epoch_after_a_resumed_one_starts_at_its_first_batch():
    sampler = BatchSampler(utterances(100), SECONDS)
    sampler.resume(2, 5)
    sampler.set_epoch(3)
    assert sorted(draw.utterance for draw in drawn(sampler)) == list(range(100))


def test_validation_deals_every_utterance_to_one_rank():
    listed = utterances(101)
    for world_size in (1, 2, 3):
        ranks = [
            ValidationSampler(listed, SECONDS, shuffle=False, rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        assert Counter(draw.utterance for rank in ranks for draw in drawn(rank)) == Counter(
            range(101)
        )
        assert [len(rank) for rank in ranks] == [len(list(rank)) for rank in ranks]


def test_an_utterance_longer_than_a_batch_is_refused_by_name():
    listed = [*utterances(5), Utterance("long", "/x", 28.0, "")]
    BatchSampler(listed, 28.0)
    with pytest.raises(ConfigError, match=r"batch_seconds is 27\.5, but utterance 'long' takes 28"):
        BatchSampler(listed, 27.5)
    with pytest.raises(ConfigError, match=r"'long' takes 31\.1 seconds"):
        BatchSampler(listed, 28.0, speed=SpeedPerturbation())


def test_no_utterance_at_all_is_refused():
    with pytest.raises(ConfigError, match="no utterance"):
        BatchSampler([], SECONDS)


@pytest.mark.parametrize("speed", [None, SpeedPerturbation()])
@pytest.mark.parametrize(
    ("corpus", "pattern", "batch_seconds"),
    [("an4/wav", "*.flac", 48), ("LibriSpeech/dev-clean", "*.mp3", 120)],
)
def test_less_than_five_percent_of_real_speech_is_padding(
    speech, corpus, pattern, batch_seconds, speed
):
    listed = real_utterances((speech / corpus).rglob(pattern))
    sampler = BatchSampler(listed, batch_seconds, speed=speed)
    for epoch in range(3):
        real = padded = 0.0
        for batch in sampler.batches(epoch):
            factors = [speed.factor(draw.seed) if speed else 1.0 for draw in batch]
            seconds = [
                listed[draw.utterance].duration / factor
                for draw, factor in zip(batch, factors, strict=True)
            ]
            real += sum(seconds)
            padded += len(seconds) * max(seconds)
        assert padded / real < 1.05
        assert sampler.padding_share(epoch) == pytest.approx(1 - real / padded)
        assert sampler.padding_share(epoch) < 0.05


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Twelve short files of noise."""
    folder = tmp_path_factory.mktemp("recorded")
    listed = []
    for index in range(12):
        generator = np.random.default_rng(index)
        samples = int(generator.integers(800, 4000))
        waveform = 0.1 * generator.uniform(-1, 1, samples).astype(np.float32)
        write_flac(folder / f"{index}.flac", waveform, 8000)
        path = str(folder / f"{index}.flac")
        listed.append(Utterance(f"n{index}", path, samples / 8000, "AB"[: index % 3]))
    return listed


def as_it_is(batch):
    return batch


def read_batches(listed, workers, speed=None):
    dataset = SpeechDataset(listed, CharacterTokenizer("AB"), 8000, speed)
    sampler = BatchSampler(listed, 1.5, seed=3, speed=speed)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=as_it_is, num_workers=workers)
    return list(loader)


def test_batches_do_not_depend_on_the_number_of_workers(recorded):
    here, elsewhere = (read_batches(recorded, workers, SpeedPerturbation()) for workers in (0, 2))
    assert len(here) == len(elsewhere) > 1
    for one, other in zip(here, elsewhere, strict=True):
        assert (one.ids, one.texts, one.total) == (other.ids, other.texts, other.total)
        for name in ("waveforms", "sample_lengths", "tokens", "token_lengths", "seeds", "weights"):
            assert getattr(one, name).equal(getattr(other, name))


def test_a_batch_holds_what_the_files_hold(recorded):
    batches = read_batches(recorded, workers=0)
    assert sorted(identity for batch in batches for identity in batch.ids) == sorted(
        utterance.id for utterance in recorded
    )
    by_id = {utterance.id: utterance for utterance in recorded}
    for batch in batches:
        for row, identity in enumerate(batch.ids):
            utterance = by_id[identity]
            expected, _ = soundfile.read(utterance.audio_filepath, dtype="float32")
            samples, letters = int(batch.sample_lengths[row]), int(batch.token_lengths[row])
            np.testing.assert_array_equal(batch.waveforms[row, :samples].numpy(), expected)
            assert batch.waveforms[row, samples:].eq(0).all()
            assert batch.texts[row] == utterance.text
            assert batch.tokens[row, :letters].tolist() == [1, 2][: len(utterance.text)]
            assert batch.seeds[row] == utterance_seed(3, 0, identity)
        assert batch.weights.eq(1).all()
        assert batch.total == len(batch.ids)


def test_moving_a_batch_leaves_the_seeds_where_they_are(recorded):
    batch = read_batches(recorded, workers=0)[0].to(torch.device("meta"))
    assert batch.waveforms.device.type == "meta"
    assert batch.seeds.device.type == "cpu"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_gives_its_error_in_place_of_the_batch(recorded, workers):
    listed = [*recorded, Utterance("gone", "/nowhere/gone.flac", 0.2, "A")]
    failed = [batch for batch in read_batches(listed, workers) if isinstance(batch, AudioError)]
    assert len(failed) == 1
    assert "/nowhere/gone.flac" in str(failed[0])
    assert "\n" not in str(failed[0])


def test_an_unknown_character_names_its_utterance_before_training():
    listed = [Utterance("good", "/a", 1.0, "AB"), Utterance("bad", "/b", 1.0, "A?")]
    with pytest.raises(TokenizerError, match=r"utterance 'bad': character '\?'"):
        SpeechDataset(listed, CharacterTokenizer("AB"), 8000)


def test_encoded_transcripts_know_the_frames_that_ctc_needs():
    texts = ["AAB", "", "B", "BB", "ABABBBA", "", "A"]
    listed = [Utterance(str(n), "/a", 1.0, text) for n, text in enumerate(texts)]
    tokenizer = CharacterTokenizer("AB")
    transcripts = TokenizedTranscripts.encode(listed, tokenizer)
    rows = [torch.tensor(tokenizer.encode(text), dtype=torch.int64) for text in texts]
    assert all(transcripts[n].equal(row) for n, row in enumerate(rows))
    assert transcripts.counts.tolist() == [len(text) for text in texts]
    expected = required_frames(*pad_sequences(rows))
    assert transcripts.required_frames().tolist() == expected.tolist() == [4, 0, 1, 3, 9, 0, 1]
    chosen = transcripts.chosen([3, 1, 0])
    assert [chosen[n].tolist() for n in range(len(chosen))] == [[2, 2], [], [1, 1, 2]]
    assert chosen.required_frames().tolist() == [3, 0, 4]


def test_a_filler_carries_no_weight(recorded):
    dataset = SpeechDataset(recorded, CharacterTokenizer("AB"), 8000)
    batch = collate([dataset[Draw(0, 5, 0.0, 3)], dataset[Draw(1, 6, 1.0, 3)]])
    assert batch.weights.tolist() == [0, 1]
    assert batch.seeds.tolist() == [5, 6]
    assert batch.total == 3
