"""Hours of audio that training takes in an hour, and where the time goes.

    python tools/benchmark/training.py [--model gru_small] [--manifest data/an4/train.jsonl]
    python tools/benchmark/training.py --device cuda --model gru_medium --batch-seconds 800

Takes whole training steps, reading included, of a model of conf/model: in float32 with batches of
like length (the baseline), with batches of any length, in bfloat16, and on request with compiled
features, in turns. On a GPU, reading is left out of these times: workers read ahead, and
tools/benchmark/data.py tells how fast. Then it splits a step of the baseline into its stages and
names the floor: the step's operations at the rate of one large matrix product, on a GPU of the same
precision. Without a manifest it makes utterances of noise, as long as LibriSpeech's.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from asr.audio import write_flac
from asr.augment import SpecAugment, SpeedPerturbation
from asr.ctc import ctc_loss
from asr.data import Batch, BatchSampler, Draw, SpeechDataset
from asr.manifest import Utterance, read_manifest
from asr.model import build_model
from asr.tokenizer import CharacterTokenizer, Tokenizer
from asr.training.estimate import count_operations
from asr.training.module import CTCTraining

ROOT = Path(__file__).parents[2]
RATE = 16000
WARM_UPS = {"cpu": 1, "cuda": 3}
LETTERS = "ETAOINSHRDLU"


def noise_corpus(folder: Path, count: int) -> list[Utterance]:
    """Write noise as long as LibriSpeech's utterances: most of them 11 to 16 seconds."""
    draw = np.random.default_rng(0)
    utterances = []
    for number in range(count):
        seconds = draw.uniform(11, 16.5) if draw.random() < 0.7 else draw.uniform(2, 11)
        # Smoothed, since FLAC takes longer for white noise than for speech.
        noise = np.convolve(draw.standard_normal(int(seconds * RATE)), np.ones(16) / 16, "same")
        path = folder / f"{number:03d}.flac"
        write_flac(path, (0.1 * noise).astype(np.float32), RATE)
        # Three subwords a second, about as many as English read aloud has.
        text = "".join(draw.choice(list(LETTERS), int(3 * seconds)))
        utterances.append(Utterance(path.stem, str(path), len(noise) / RATE, text))
    return utterances


def build(args: argparse.Namespace, tokenizer: Tokenizer) -> CTCTraining:
    """The model with its augmentation, as `asr train` trains it."""
    config = yaml.safe_load((ROOT / "conf" / "model" / f"{args.model}.yaml").read_text())
    torch.manual_seed(0)
    model = build_model(config, max(args.vocabulary, tokenizer.vocabulary_size))
    masks = SpecAugment(time_masks=5, time_width=40, time_ratio=0.05)
    return CTCTraining(model, tokenizer, [masks]).train().to(args.device)


def batches(utterances: list[Utterance], args: argparse.Namespace, buckets: bool) -> list[Any]:
    """Draws of some batches of an epoch, evenly spread, of like or of any length."""
    speed = SpeedPerturbation()
    sampler = BatchSampler(utterances, args.batch_seconds, seed=1, speed=speed)
    if buckets:
        formed = sampler.batches(0)
    else:
        # As many utterances a batch as fit were all of them as long as the longest.
        order = np.random.default_rng(0).permutation(len(utterances))
        longest = max(u.duration for u in utterances) / 0.9
        size = max(1, int(args.batch_seconds // longest))
        seeds = {d.utterance: d.seed for batch in sampler.batches(0) for d in batch}
        formed = [
            [Draw(int(i), seeds[int(i)], 1.0, size) for i in order[start : start + size]]
            for start in range(0, len(order) - size + 1, size)
        ]
    places = np.linspace(0, len(formed) - 1, min(args.steps, len(formed))).round()
    return [formed[int(place)] for place in places]


@dataclass
class Measured:
    """What a contender's steps came to: seconds of audio, seconds taken, bytes at most."""

    audio: float = 0.0
    taken: float = 0.0
    memory: int = 0

    @property
    def speed(self) -> float:
        """Hours of audio in an hour."""
        return self.audio / self.taken


class Step:
    """A whole training step: reading, forward, backward, optimizer."""

    def __init__(
        self,
        module: CTCTraining,
        dataset: SpeechDataset,
        draws: list[Any],
        context: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.module = module
        self.dataset = dataset
        self.draws = draws
        self.context = context
        self.optimizer = module.configure_optimizers()

    def batch(self, number: int) -> Batch:
        """Read a batch and bring it to where the model is."""
        batch = self.dataset.__getitems__(self.draws[number % len(self.draws)])
        assert isinstance(batch, Batch)
        return batch.to(self.module.device)

    def __call__(self, number: int) -> tuple[float, float]:
        """Take a step; give the seconds of audio in it and the seconds it took."""
        start = time.perf_counter()
        batch = self.batch(number)
        if self.module.device.type == "cuda":
            synchronize(self.module.device)
            start = time.perf_counter()
        with self.context():
            losses = self.module.losses(*self.module.augmented_views(batch), batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()
        synchronize(self.module.device)
        return float(batch.sample_lengths.sum()) / RATE, time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for what a GPU has been asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compiled_features(args: argparse.Namespace, tokenizer: Tokenizer) -> CTCTraining:
    """The module with log-mel features compiled for any length.

    Not the subsampling: inductor of torch 2.11 orders the strides of its convolutions, and cannot
    where they are symbols ("cannot determine truth value of Relational").
    """
    module = build(args, tokenizer)
    # In place: the part keeps its name.
    module.model.features.compile(dynamic=True)
    return module


def contenders(
    args: argparse.Namespace, utterances: list[Utterance], tokenizer: Tokenizer
) -> dict[str, Step]:
    """What is compared."""
    dataset = SpeechDataset(utterances, tokenizer, RATE, SpeedPerturbation())
    alike, mixed = (batches(utterances, args, buckets) for buckets in (True, False))

    def plain() -> AbstractContextManager[Any]:
        return torch.autocast(args.device.type, enabled=False)

    def halved() -> AbstractContextManager[Any]:
        return torch.autocast(args.device.type, torch.bfloat16)

    module = build(args, tokenizer)
    found = {
        "float32, like lengths": Step(module, dataset, alike, plain),
        "float32, any lengths": Step(module, dataset, mixed, plain),
    }
    if args.compile:
        front = compiled_features(args, tokenizer)
        found["float32, features compiled"] = Step(front, dataset, alike, plain)
    if not args.skip_bf16:
        found["bfloat16, like lengths"] = Step(build(args, tokenizer), dataset, alike, halved)
    return found


def stages(step: Step) -> dict[str, float]:
    """Seconds of each stage of a step, the median over all batches."""
    module, model = step.module, step.module.model
    times: dict[str, list[float]] = {}

    def lap(name: str, since: float) -> float:
        synchronize(module.device)
        now = time.perf_counter()
        times.setdefault(name, []).append(now - since)
        return now

    for draws in tqdm(step.draws, "stages", file=sys.stderr, leave=False):
        now = time.perf_counter()
        batch = step.dataset.__getitems__(draws)
        assert isinstance(batch, Batch)
        batch = batch.to(module.device)
        now = lap("load", now)
        with step.context():
            features, lengths = module.augmented_views(batch)
        now = lap("features", now)
        with step.context():
            log_probs, lengths = model.classify(features, lengths)
        now = lap("encoder, forward", now)
        inner = log_probs.detach().requires_grad_()
        loss = ctc_loss(inner, lengths, batch.tokens, batch.token_lengths).losses.mean()
        loss.backward()
        now = lap("CTC, forward and backward", now)
        step.optimizer.zero_grad(set_to_none=True)
        log_probs.backward(inner.grad)
        now = lap("encoder, backward", now)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        step.optimizer.step()
        lap("optimizer", now)
    return {name: statistics.fmean(values) for name, values in times.items()}


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b, out = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(3))

    def seconds() -> float:
        synchronize(device)
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        synchronize(device)
        return time.perf_counter() - start

    return 2 * size**3 / min(seconds() for _ in range(30))


def place(args: argparse.Namespace) -> str:
    """Name what computes."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{args.threads} threads"


def measure(steps: dict[str, Step], args: argparse.Namespace) -> dict[str, Measured]:
    """Take the steps of all contenders in turns."""
    found = {name: Measured() for name in steps}
    warm_ups = WARM_UPS[args.device.type]
    for number in tqdm(range(args.steps + warm_ups), "steps", file=sys.stderr, leave=False):
        for name, step in steps.items():
            if args.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(args.device)
            heard, seconds = step(number)
            if number >= warm_ups:
                found[name].taken += seconds
                found[name].audio += heard
            if args.device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(args.device)
                found[name].memory = max(found[name].memory, peak)
    return found


def compare(args: argparse.Namespace, utterances: list[Utterance]) -> None:
    """Measure all contenders and print the tables."""
    tokenizer = CharacterTokenizer.train(u.text for u in utterances)
    steps = contenders(args, utterances, tokenizer)
    module = next(iter(steps.values())).module
    flops, _ = count_operations(module)
    on_gpu = args.device.type == "cuda"
    rates = {"float32": matmul_rate(args.device)}
    if on_gpu and not args.skip_bf16:
        rates["bfloat16"] = matmul_rate(args.device, torch.bfloat16)
    print(
        f"{args.model}, {module.model.parameter_count() / 1e6:.1f} M parameters, batches of "
        f"{args.batch_seconds:g} s, {place(args)}, torch {torch.__version__}, "
        + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
        + f", {flops / 1e9:.2f} GFLOP a second of audio"
    )
    found = measure(steps, args)
    base = found["float32, like lengths"].speed
    memory = "     GiB" if on_gpu else ""
    heads = f"{'h/h':>8}{'x first':>9}{'of floor':>10}   ms/step{memory}"
    print(f"\n  {'hours of audio in an hour':30}{heads}")
    for name, got in found.items():
        floor = rates.get(name.split(",")[0], rates["float32"]) / flops
        memory = f"{got.memory / 2**30:8.1f}" if on_gpu else ""
        print(
            f"  {name:30}{got.speed:8.0f}{got.speed / base:9.2f}{got.speed / floor:10.1%}"
            f"{1e3 * got.taken / args.steps:10.0f}{memory}"
        )
    for name, rate in rates.items():
        print(f"  {f'floor: {name} products alone':30}{rate / flops:8.0f}")
    first = next(name for name in steps if not on_gpu or args.skip_bf16 or "bfloat16" in name)
    spent = stages(steps[first])
    whole = sum(spent.values())
    print(f"\n  {f'stage of {first}':30}{'ms':>8}{'share':>9}")
    for name, value in spent.items():
        print(f"  {name:30}{1e3 * value:8.0f}{value / whole:9.1%}")


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gru_small", help="of conf/model (default gru_small)")
    parser.add_argument("--manifest", type=Path, help="utterances (default: noise is made)")
    parser.add_argument("--vocabulary", type=int, default=256, help="tokens (default 256)")
    parser.add_argument("--batch-seconds", type=float, default=120.0)
    parser.add_argument("--steps", type=int, default=6, help="of each contender")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--count", type=int, default=120, help="utterances of noise (default 120)")
    parser.add_argument("--skip-bf16", action="store_true")
    parser.add_argument("--compile", action="store_true", help="and with compiled features")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare(
            args,
            read_manifest(args.manifest)
            if args.manifest
            else noise_corpus(Path(folder), args.count),
        )


if __name__ == "__main__":
    main()
