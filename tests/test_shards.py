"""Shards: WebDataset's layout, and the very batches of the files, from disk, memory and HTTP."""

import itertools
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mirrors import Fault, Mirror, serve
from tones import make_tones
from torch.utils.data import DataLoader

import asr.shards.reading
from asr.audio import write_flac
from asr.augment import SpeedPerturbation, UtteranceJoining
from asr.cli import main
from asr.data import BatchSampler, SpeechDataset
from asr.errors import AudioError, ManifestError
from asr.manifest import Utterance, read_manifest
from asr.shards import ShardReader, ShardReference, write_shards
from asr.tokenizer import CharacterTokenizer

RATE = 8000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Thirty short recordings of noise, with ids that WebDataset would misread."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for number in range(30):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 900 + 61 * number)
        path = folder / f"{number}.flac"
        write_flac(path, noise.astype(np.float32), RATE)
        seconds = (900 + 61 * number) / RATE
        found.append(Utterance(f"s.{number % 3}/u{number:02d}", str(path), seconds, "AB", "s"))
    return found


@pytest.fixture(scope="module")
def shards(files: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    summary = write_shards(files, "train", str(folder), shard_bytes=12_000)
    assert summary.written and summary.shards > 3
    return folder


@pytest.fixture
def far(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asr.shards.reading, "PAUSE_SECONDS", 0.0)
    with serve({f"/{path.name}": path.read_bytes() for path in shards.iterdir()}) as mirror:
        yield mirror


def as_it_is(batch):
    return batch


def batches(utterances, workers=0, done=0, rank=0, world_size=1):
    """Read an epoch, or the rest of it, as training does."""
    speed = SpeedPerturbation()
    dataset = SpeechDataset(utterances, CharacterTokenizer("AB "), RATE, speed)
    join = UtteranceJoining(utterances, 0.3)
    sampler = BatchSampler(
        utterances, 1.0, seed=3, speed=speed, join=join, rank=rank, world_size=world_size
    )
    sampler.resume(2, done)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=as_it_is, num_workers=workers)
    return list(loader)


def assert_same(these, those):
    assert len(these) == len(those) > 0
    for one, other in zip(these, those, strict=True):
        assert (one.ids, one.texts, one.total) == (other.ids, other.texts, other.total)
        for name in ("waveforms", "sample_lengths", "tokens", "seeds", "weights"):
            assert getattr(one, name).equal(getattr(other, name)), name


def test_the_layout_is_that_of_webdataset(files, shards):
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(shards.glob("train-*.tar")):
        assert path.stat().st_size < 12_000 + 20_000
        with tarfile.open(path) as archive:
            for member in archive:
                # The key is what stands before the first dot of the name.
                key, _, kind = member.name.partition(".")
                content = archive.extractfile(member)
                assert content is not None and "/" not in key
                samples.setdefault(key, {})[kind] = content.read()
    by_id = {utterance.id: utterance for utterance in files}
    assert len(samples) == len(files)
    for sample in samples.values():
        facts = json.loads(sample["json"])
        utterance = by_id.pop(facts["id"])
        assert sample["flac"] == Path(utterance.audio_filepath).read_bytes()
        assert (facts["text"], facts["duration"]) == (utterance.text, utterance.duration)


def test_a_shard_mixes_what_a_manifest_has_in_a_row(files, shards):
    place = {
        u.id: u.audio_filepath.partition("#")[0] for u in read_manifest(shards / "train.jsonl")
    }
    inside = [place[u.id] for u in files]
    neighbours = sum(a == b for a, b in itertools.pairwise(inside))
    assert neighbours < len(files) / 2


def test_batches_from_local_shards_are_those_of_the_files(files, shards):
    stored = read_manifest(shards / "train.jsonl")
    assert [u.id for u in stored] == [u.id for u in files]
    assert_same(batches(stored), batches(files))
    assert_same(batches(stored, workers=2, done=3), batches(files)[3:])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_over_http_are_those_of_the_files(workers, files, far):
    stored = read_manifest(f"{far.url}/train.jsonl")
    assert_same(batches(stored, workers), batches(files))
    # An interrupted epoch goes on with the same batches.
    assert_same(batches(stored, workers, done=4), batches(files)[4:])
    # Nothing but the ranges of the utterances is read.
    assert all(ranged for path, ranged in far.requests if path.endswith(".tar"))


def test_ranks_share_the_batches_and_take_the_same_number_of_steps(files, far):
    stored = read_manifest(f"{far.url}/train.jsonl")
    alone = batches(files)
    ranks = [batches(stored, rank=rank, world_size=2) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(alone)
    for step, whole in enumerate(alone):
        read = [
            identity
            for batch in (ranks[0][step], ranks[1][step])
            for identity, weight in zip(batch.ids, batch.weights.tolist(), strict=True)
            if weight
        ]
        assert sorted(read) == sorted(whole.ids)


def test_writing_again_writes_nothing_and_other_audio_all(files, tmp_path):
    place = str(tmp_path / "shards")
    assert write_shards(files[:5], "train", place).written
    before = {p: p.stat().st_mtime_ns for p in Path(place).iterdir()}
    assert not write_shards(files[:5], "train", place).written
    assert {p: p.stat().st_mtime_ns for p in Path(place).iterdir()} == before
    (Path(place) / "train-000000.tar").write_bytes(b"cut")
    assert write_shards(files[:5], "train", place).written
    assert write_shards(files[:6], "train", place).written
    assert len(read_manifest(f"{place}/train.jsonl")) == 6


def test_any_place_that_fsspec_knows_will_do(files):
    summary = write_shards(files, "train", "memory://bucket/corpus", shard_bytes=40_000)
    assert summary.manifest == "memory://bucket/corpus/train.jsonl"
    assert_same(batches(read_manifest(summary.manifest)), batches(files))


def test_a_failing_server_is_asked_again(files, far: Mirror):
    stored = read_manifest(f"{far.url}/train.jsonl")
    for path in list(far.files):
        if path.endswith(".tar"):
            far.faults[path] = [Fault(status=503), Fault(cut_after=100), Fault(status=503)]
    assert_same(batches(stored), batches(files))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("gone", "cannot be read at byte [0-9]+, after 5 attempts: FileNotFoundError"),
        ("changed", "does not hold at byte [0-9]+ what was written there"),
        ("rangeless", "it was cut, or its server knows no ranges"),
        ("cut", "(it was cut, or its server|after 5 attempts)"),
    ],
)
def test_a_broken_shard_is_named(harm, message, far: Mirror):
    stored = read_manifest(f"{far.url}/train.jsonl")
    reference = ShardReference.parse(stored[0].audio_filepath)
    path = reference.shard.removeprefix(far.url)
    content = bytearray(far.files[path])
    if harm == "gone":
        del far.files[path]
    elif harm == "changed":
        content[reference.offset + 10] ^= 1
        far.files[path] = bytes(content)
    elif harm == "rangeless":
        far.ranges = False
    else:
        far.files[path] = bytes(content[: reference.offset + 10])
    with pytest.raises(AudioError, match=message) as caught:
        ShardReader().waveforms([str(reference)], RATE)
    assert reference.shard in str(caught.value)


def test_sound_bytes_that_are_no_audio_are_named_by_their_place(tmp_path):
    noise = tmp_path / "noise.flac"
    noise.write_bytes(b"no audio at all")
    write_shards([Utterance("a", str(noise), 1.0, "A")], "bad", str(tmp_path / "out"))
    (stored,) = read_manifest(tmp_path / "out/bad.jsonl")
    with pytest.raises(AudioError, match=r"bad-000000\.tar, byte 512"):
        ShardReader().waveforms([stored.audio_filepath], RATE)


def test_what_is_no_reference_is_refused():
    with pytest.raises(ManifestError, match="is no stretch of a shard"):
        ShardReader().waveforms(["/a.tar#offset=x"], RATE)


def test_a_model_trained_over_http_is_the_one_trained_from_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tones(tmp_path / "tones", train=6, valid=2)
    for split in ("train", "valid"):
        table = f"tones/{split}.jsonl"
        words = ["folder", "--root", f"tones/{split}", "--transcripts", table, "-o", split]
        assert main(["prepare", *words, "--shards", f"shards/{split}"]) == 0
        assert f"shards/{split}/all.jsonl: 1 shards" in capsys.readouterr().out
        assert main(["prepare", *words, "--shards", f"shards/{split}"]) == 0
        assert ", whole already" in capsys.readouterr().out
    stored = {
        f"/{path.relative_to('shards')}": path.read_bytes()
        for path in Path("shards").rglob("*")
        if path.is_file()
    }
    with serve(stored) as mirror:
        for name, place in (("near", "."), ("far", mirror.url)):
            words = [f"data.{split}={place}/{split}/all.jsonl" for split in ("train", "valid")]
            more = ["model=gru_tiny", "trainer=cpu", "trainer.max_epochs=1", "data.workers=0"]
            assert main(["train", *words, *more, "data.batch_seconds=4", f"name={name}"]) == 0
    near, away = (
        Path(f"runs/{name}/model/model.safetensors").read_bytes() for name in ("near", "far")
    )
    assert near == away
