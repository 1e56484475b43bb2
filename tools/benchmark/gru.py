"""Time asr.gru.GRU against torch.nn.GRU and nn.LSTM, interleaved in one run.

    python tools/benchmark/gru.py --size 3x192 --size 3x256 [--batch 16] [--frames 200]

Prints the median of each contender and ratios to the padded and the packed torch.nn.GRU; above 1
is faster than that. The floor is the time that the matrix products alone would take at the rate
measured for one large product.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from asr.gru import GRU

Step = Callable[[], None]


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    return next((n.split(":")[1].strip() for n in names if n.startswith("model name")), "") or (
        platform.processor() or platform.machine()
    )


def matmul_rate() -> float:
    """Floating-point operations a second of a large matrix product in float32."""
    n = 1024
    a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


def product_flops(layers: int, hidden: int, directions: int, features: int, frames: int) -> int:
    """Operations of all matrix products of a forward pass; a training step takes three times."""
    total = 0
    for layer in range(layers):
        inputs = directions * hidden if layer else features
        total += 2 * frames * directions * 3 * hidden * (inputs + hidden)
    return total


def contenders(args: argparse.Namespace, layers: int, hidden: int) -> dict[str, nn.Module]:
    """The modules compared, of one size."""
    common = {"num_layers": layers, "bidirectional": not args.unidirectional}
    theirs = {**common, "batch_first": True}
    return {
        "before": GRU(args.features, hidden, reset="before", **common),
        "after": GRU(args.features, hidden, reset="after", **common),
        "nn.GRU": nn.GRU(args.features, hidden, **theirs),
        "nn.GRU packed": nn.GRU(args.features, hidden, **theirs),
        "nn.LSTM": nn.LSTM(args.features, hidden, **theirs),
    }


def forward(name: str, module: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Output of one contender (B, T, directions * H)."""
    if name in ("before", "after"):
        return module(x, lengths)[0]
    if name == "nn.GRU packed":
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(module(packed)[0], True)[0]
    return module(x)[0]


def training_step(name: str, module: nn.Module, x: Tensor, lengths: Tensor, bf16: bool) -> Step:
    """Forward and backward pass, to the input as well."""
    x = x.clone().requires_grad_()

    def step() -> None:
        module.zero_grad()
        x.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = forward(name, module, x, lengths)
        output.float().square().mean().backward()

    return step


def inference(name: str, module: nn.Module, x: Tensor, lengths: Tensor, bf16: bool) -> Step:
    """Forward pass alone."""

    def step() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            forward(name, module, x, lengths)

    return step


def measure(steps: dict[str, Step], rounds: int, title: str) -> dict[str, float]:
    """Median seconds of each step, taken in turns so that all see the same disturbances."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in tqdm(range(rounds + 1), desc=title, file=sys.stderr, leave=False):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, seconds: dict[str, float], floor: float) -> None:
    """Print one table."""
    print(f"\n{title}; floor of the products {1e3 * floor:.1f} ms")
    print(f"  {'':14}{'ms':>9}{'x padded':>10}{'x packed':>10}{'x LSTM':>10}{'x floor':>10}")
    for name, value in seconds.items():
        ratios = [seconds[other] / value for other in ("nn.GRU", "nn.GRU packed", "nn.LSTM")]
        columns = "".join(f"{ratio:10.2f}" for ratio in ratios)
        print(f"  {name:14}{1e3 * value:9.1f}{columns}{value / floor:10.2f}")


def compare(args: argparse.Namespace, size: str, rate: float) -> None:
    """Measure training and inference of one size."""
    layers, hidden = map(int, size.split("x"))
    modules = contenders(args, layers, hidden)
    floor = product_flops(
        layers, hidden, 1 if args.unidirectional else 2, args.features, args.batch * args.frames
    )
    where = f"{size}, batch {args.batch} x {args.frames} frames{', bf16' if args.bf16 else ''}"
    x = torch.randn(args.batch, args.frames, args.features)
    lengths = args.frames - torch.arange(args.batch) * args.frames // (20 * args.batch)
    work = [("training step", training_step, 3), ("inference", inference, 1)]
    for name, make, passes in work:
        steps = {n: make(n, module, x, lengths, args.bf16) for n, module in modules.items()}
        seconds = measure(steps, args.rounds, f"{size} {name}")
        report(f"{name}, {where}", seconds, passes * floor / rate)


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", help="LAYERSxHIDDEN (default 3x192 and 3x256)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bf16", action="store_true", help="under torch.autocast in bfloat16")
    parser.add_argument("--unidirectional", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rate = matmul_rate()
    print(
        f"{processor()}, {args.threads} threads, torch {torch.__version__}, "
        f"{rate / 1e9:.0f} GFLOP/s, lengths within 5 % of the longest, median of {args.rounds}"
    )
    for size in args.size or ["3x192", "3x256"]:
        compare(args, size, rate)


if __name__ == "__main__":
    main()
