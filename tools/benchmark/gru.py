"""Time asr.gru.GRU against torch.nn.GRU and nn.LSTM, interleaved in one run.

    python tools/benchmark/gru.py --size 3x192 --size 3x256 [--batch 16] [--frames 200]
    python tools/benchmark/gru.py --device cuda --bf16

Prints the median of each contender and ratios to the padded and the packed torch.nn.GRU; above 1
is faster than that. The floor is the time that the matrix products alone would take at the rate
measured for one large product; "x floor" is the time as a multiple of it, "share" its inverse.

On CUDA "after" is cuDNN and "before" Triton, a launch for each half of a step of a wide layer;
"walk" is one launch for all steps, "loop" plain PyTorch. Times are between CUDA events.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from asr.gru import GRU
from asr.gru.backend import force_backend

Step = Callable[[], None]

WARM_UPS = {"cpu": 1, "cuda": 3}
"""Rounds whose times are thrown away; Triton compiles in the first."""

VOCABULARY_SIZE = 256
TOKENS = 30

FORCED = {"walk": "triton-walk", "loop": "torch"}
"""Backends of the contenders that are not the package's own choice, by the last word."""


def processor(device: torch.device) -> str:
    """Name of the processor, as the system tells it."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, cuDNN {torch.backends.cudnn.version()}"
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    return next((n.split(":")[1].strip() for n in names if n.startswith("model name")), "") or (
        platform.processor() or platform.machine()
    )


def seconds_of(step: Step, device: torch.device) -> float:
    """Run a step and time it, on a GPU from the start of its first kernel to the end of its last.

    Where Python is slower than the GPU, that includes the waiting.
    """
    if device.type != "cuda":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    step()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1e3


def matmul_rate(device: torch.device, bf16: bool) -> float:
    """Floating-point operations a second of a large matrix product; in bfloat16 only on CUDA."""
    n = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if bf16 and device.type == "cuda" else torch.float32
    a, b, out = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(3))
    return 2 * n**3 / min(seconds_of(lambda: torch.mm(a, b, out=out), device) for _ in range(20))


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
    found: dict[str, nn.Module] = {
        "before": GRU(args.features, hidden, reset="before", **common),
        "after": GRU(args.features, hidden, reset="after", **common),
        "nn.GRU": nn.GRU(args.features, hidden, **theirs),
        "nn.GRU packed": nn.GRU(args.features, hidden, **theirs),
        "nn.LSTM": nn.LSTM(args.features, hidden, **theirs),
    }
    if args.device.type == "cuda":
        found["before walk"] = found["before loop"] = found["before"]
        found["after loop"] = found["after"]
    return {name: module.to(args.device) for name, module in found.items()}


def forward(name: str, module: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Output of one contender (B, T, directions * H)."""
    if name == "nn.GRU packed":
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(module(packed)[0], True)[0]
    if name.startswith("nn."):
        return module(x)[0]
    backend = FORCED.get(name.split()[-1])
    forced: AbstractContextManager[None] = force_backend(backend) if backend else nullcontext()
    with forced:
        return module(x, lengths)[0]


def training_step(name: str, module: nn.Module, x: Tensor, lengths: Tensor, bf16: bool) -> Step:
    """Forward pass, CTC loss, and backward pass, to the input as well."""
    x = x.clone().requires_grad_()
    width = (2 if module.bidirectional else 1) * module.hidden_size
    head = nn.Linear(width, VOCABULARY_SIZE, device=x.device)
    tokens = torch.randint(1, VOCABULARY_SIZE, (len(x), TOKENS), device=x.device)
    token_lengths = torch.full((len(x),), TOKENS)

    def step() -> None:
        module.zero_grad()
        head.zero_grad()
        x.grad = None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            scores = head(forward(name, module, x, lengths))
        log_probs = scores.float().log_softmax(-1).transpose(0, 1)
        nn.functional.ctc_loss(log_probs, tokens, lengths, token_lengths).backward()

    return step


def inference(name: str, module: nn.Module, x: Tensor, lengths: Tensor, bf16: bool) -> Step:
    """Forward pass alone."""

    def step() -> None:
        with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            forward(name, module, x, lengths)

    return step


def measure(
    steps: dict[str, Step], rounds: int, title: str, device: torch.device
) -> dict[str, float]:
    """Median seconds of each step, taken in turns so that all see the same disturbances."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    warm_ups = WARM_UPS[device.type]
    for round_ in tqdm(range(rounds + warm_ups), desc=title, file=sys.stderr, leave=False):
        for name, step in steps.items():
            taken = seconds_of(step, device)
            if round_ >= warm_ups:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, seconds: dict[str, float], floor: float) -> None:
    """Print one table."""
    baselines = {"nn.GRU": "x padded", "nn.GRU packed": "x packed", "nn.LSTM": "x LSTM"}
    if "before loop" in seconds:
        baselines["before loop"] = "x loop"
    print(f"\n{title}; floor of the products {1e3 * floor:.1f} ms")
    headings = "".join(f"{heading:>10}" for heading in (*baselines.values(), "x floor", "share"))
    print(f"  {'':14}{'ms':>9}{headings}")
    for name, value in seconds.items():
        columns = "".join(f"{seconds[other] / value:10.2f}" for other in baselines)
        floors = f"{value / floor:10.2f}{floor / value:9.0%}"
        print(f"  {name:14}{1e3 * value:9.1f}{columns}{floors}")


def compare(args: argparse.Namespace, size: str, rate: float) -> None:
    """Measure training and inference of one size."""
    layers, hidden = map(int, size.split("x"))
    modules = contenders(args, layers, hidden)
    floor = product_flops(
        layers, hidden, 1 if args.unidirectional else 2, args.features, args.batch * args.frames
    )
    where = f"{size}, batch {args.batch} x {args.frames} frames{', bf16' if args.bf16 else ''}"
    x = torch.randn(args.batch, args.frames, args.features, device=args.device)
    lengths = args.frames - torch.arange(args.batch) * args.frames // (20 * args.batch)
    work = [("training step", training_step, 3), ("inference", inference, 1)]
    for name, make, passes in work:
        steps = {n: make(n, module, x, lengths, args.bf16) for n, module in modules.items()}
        seconds = measure(steps, args.rounds, f"{size} {name}", args.device)
        report(f"{name}, {where}", seconds, passes * floor / rate)


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", action="append", help="LAYERSxHIDDEN (default 3x192 and 3x256; on CUDA 5x800)"
    )
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--batch", type=int, help="sequences (default 16, on CUDA 32)")
    parser.add_argument("--frames", type=int, help="frames (default 200, on CUDA 375: 15 s)")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bf16", action="store_true", help="under torch.autocast in bfloat16")
    parser.add_argument("--unidirectional", action="store_true")
    args = parser.parse_args()
    on_gpu = args.device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("--device is cuda, but PyTorch finds no GPU here: leave it out.")
    args.batch = args.batch or (32 if on_gpu else 16)
    args.frames = args.frames or (375 if on_gpu else 200)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rate = matmul_rate(args.device, args.bf16)
    print(
        f"{processor(args.device)}, {args.threads} threads, torch {torch.__version__}, "
        f"{rate / 1e9:.0f} GFLOP/s, lengths within 5 % of the longest, median of {args.rounds}"
    )
    for size in args.size or (["5x800"] if on_gpu else ["3x192", "3x256"]):
        compare(args, size, rate)


if __name__ == "__main__":
    main()
