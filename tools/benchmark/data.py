"""Speed and memory of the way from files to batches: open a manifest, read FLAC, perturb, pad.

    python tools/benchmark/data.py --audio FOLDER_OF_FLAC

Times are of the processor, on one core, and ratios to the duration of the audio. The floor is what
libsndfile alone takes to decode the same files. For memory, workers as training starts them read
an epoch of a manifest as long as LibriSpeech's 960 hours, whose lines all name short files made
here, so that it takes minutes.
"""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch.utils.data import DataLoader

from asr.audio import write_flac
from asr.augment import (
    Babble,
    Room,
    SoundAugmentation,
    SpeedPerturbation,
    WhiteNoise,
)
from asr.data import BatchSampler, SpeechDataset
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.resampling import resample
from asr.shards import write_shards
from asr.tokenizer import CharacterTokenizer

RATE = 16000
LINES = 281_241
LETTERS = CharacterTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
WORDS = ("THE", "QUICK", "BROWN", "FOX", "JUMPS", "OVER", "A", "LAZY", "DOG", "AND", "RESTS")


def listed(paths: list[Path]) -> list[Utterance]:
    """Make utterances of files, with texts of the length that read speech has."""
    found = []
    for path in paths:
        info = soundfile.info(path)
        seconds = info.frames / info.samplerate
        text = " ".join(WORDS[n % len(WORDS)] for n in range(max(1, round(2.7 * seconds))))
        found.append(Utterance(path.stem, str(path), seconds, text, "s"))
    return found


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Take the median of the processor's seconds."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def speed(folder: Path, rounds: int) -> None:
    """Print how many seconds of audio a second of one core turns into batches."""
    utterances = listed(sorted(folder.rglob("*.flac")))
    audio = sum(utterance.duration for utterance in utterances)
    print(
        f"{len(utterances)} files, {audio / 60:.1f} minutes, mean {audio / len(utterances):.1f} s"
    )
    waveforms = {
        utterance.audio_filepath: soundfile.read(utterance.audio_filepath, dtype="float32")[0]
        for utterance in utterances
    }

    def batches(
        perturb: SpeedPerturbation | None, rate: int, *sound: SoundAugmentation
    ) -> Callable[[], object]:
        dataset = SpeechDataset(utterances, LETTERS, rate, perturb, sound=sound)
        sampler = BatchSampler(utterances, 120.0, speed=perturb)
        return lambda: [dataset.__getitems__(draws) for draws in sampler]

    def decode() -> None:
        for utterance in utterances:
            soundfile.read(utterance.audio_filepath, dtype="float32")

    with tempfile.TemporaryDirectory() as place:
        slow = []
        for path, waveform in waveforms.items():
            target = Path(place) / Path(path).name
            write_flac(target, resample(waveform, RATE, 8000), 8000)
            slow.append(target)
        others = listed(slow)
        dataset, sampler = SpeechDataset(others, LETTERS, RATE), BatchSampler(others, 120.0)
        ways: dict[str, Callable[[], object]] = {
            "floor: libsndfile decodes": decode,
            "read and pad": batches(None, RATE),
            "with speed perturbation 0.9, 1.0, 1.1": batches(SpeedPerturbation(), RATE),
            "with white noise under every utterance": batches(None, RATE, WhiteNoise(1.0)),
            "with babble of 3 to 7 voices": batches(None, RATE, Babble(utterances, RATE, 1.0)),
            "in a room each, RT60 0.1 to 0.5 s": batches(None, RATE, Room(RATE, 1.0)),
            "floor of perturbation: soxr alone, 1.1": lambda: [
                soxr.resample(w, 1100, 1000, quality="MQ") for w in waveforms.values()
            ],
            "read 8 kHz, resample to 16 kHz, pad": lambda: [
                dataset.__getitems__(draws) for draws in sampler
            ],
        }
        for name, way in ways.items():
            taken = seconds_of(way, rounds)
            print(f"{name:42} {audio / taken:7.0f} x real time")


def serve_shards(folder: str, urls: "multiprocessing.Queue[str]") -> None:
    """Serve a folder on loopback until the process is ended."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from mirrors import serve

    files = {f"/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}
    with serve(files) as mirror:
        urls.put(mirror.url)
        time.sleep(3600)


def shard_speed(folder: Path, rounds: int) -> None:
    """Print how fast shards are read, from the disk and over HTTP, by the clock."""
    utterances = listed(sorted(folder.rglob("*.flac")))
    audio = sum(utterance.duration for utterance in utterances)
    with tempfile.TemporaryDirectory() as place:
        write_shards(utterances, "train", place, shard_bytes=10_000_000)
        urls: multiprocessing.Queue[str] = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve_shards, args=(place, urls), daemon=True)
        server.start()
        ways = {
            "files, by the clock": utterances,
            "shards on the disk, by the clock": read_manifest(f"{place}/train.jsonl"),
            "shards over HTTP on loopback, by the clock": read_manifest(
                f"{urls.get()}/train.jsonl"
            ),
        }
        for name, stored in ways.items():
            dataset, sampler = SpeechDataset(stored, LETTERS, RATE), BatchSampler(stored, 120.0)
            taken = []
            for _ in range(rounds):
                started = time.perf_counter()
                for draws in sampler:
                    dataset.__getitems__(draws)
                taken.append(time.perf_counter() - started)
            print(f"{name:42} {audio / float(np.median(taken)):7.0f} x real time")
        server.terminate()


def opening(place: Path) -> Path:
    """Print how long it takes to open a manifest of LibriSpeech's size, and give its path."""
    files = []
    for number in range(64):
        noise = np.random.default_rng(number).normal(0, 0.1, 1600 + 100 * number)
        write_flac(place / f"{number}.flac", noise.astype(np.float32), RATE)
        files.append(place / f"{number}.flac")
    manifest = place / "train.jsonl"
    text = " ".join(WORDS[n % len(WORDS)] for n in range(33))
    write_manifest(
        manifest,
        (
            Utterance(
                f"{n % 2484}-{n // 100}-{n % 100:04d}-{n}",
                str(files[n % 64]),
                (1600 + 100 * (n % 64)) / RATE,
                text,
                str(n % 2484),
            )
            for n in range(LINES)
        ),
    )
    started = time.perf_counter()
    count = len(read_manifest(manifest))
    print(
        f"a manifest of {count:,} lines ({manifest.stat().st_size / 1e6:.0f} MB) opens in "
        f"{time.perf_counter() - started:.2f} s"
    )
    return manifest


def proportional_mb() -> float:
    """Give this process's memory in MB, of shared pages its share of them."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:"))


class Watched(SpeechDataset):
    """A dataset whose workers write down their memory with every hundredth batch."""

    log: Path

    # Torch gives its data sets no types.
    def __getitems__(self, draws):  # type: ignore[no-untyped-def]
        self.count = getattr(self, "count", -1) + 1
        if self.count % 100 == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            with (self.log / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([self.count, proportional_mb(), peak]) + "\n")
        return super().__getitems__(draws)


def memory(manifest: Path, place: Path, workers: int) -> None:
    """Print the memory of workers over an epoch."""
    utterances = read_manifest(manifest)
    dataset = Watched(utterances, LETTERS, RATE)
    dataset.log = place
    # As training makes it, without the manifest's own objects.
    sampler = BatchSampler(dataset.utterances, 120.0)
    del utterances
    gc.collect()
    loader = DataLoader(
        dataset, batch_sampler=sampler, collate_fn=lambda batch: batch, num_workers=workers
    )
    started = time.perf_counter()
    count = sum(len(batch.ids) for batch in loader)
    taken = time.perf_counter() - started
    print(f"an epoch of {count:,} utterances of 0.1 to 0.5 s in {taken:.0f} s, {workers} workers")
    for path in sorted(place.glob("*.jsonl")):
        if path == manifest:
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        tenths = [rows[round(n * (len(rows) - 1) / 10)] for n in range(11)]
        shares = " ".join(f"{row[1]:.0f}" for row in tenths)
        print(
            f"worker: MB of its own and its share of what is shared, at each tenth of the epoch: "
            f"{shares}; largest resident size, all shared pages counted: {rows[-1][2]:.0f}"
        )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, help="folder of 16 kHz FLAC files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--skip-memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, soundfile {soundfile.__version__}, soxr {soxr.__version__}"
    )
    if args.audio:
        speed(args.audio, args.rounds)
        shard_speed(args.audio, args.rounds)
    with tempfile.TemporaryDirectory() as place:
        manifest = opening(Path(place))
        if not args.skip_memory:
            memory(manifest, Path(place), args.workers)


if __name__ == "__main__":
    main()
