"""Time exported models against eager torch.nn.GRU at batch 1 and against the floor of products.

    python tools/benchmark/export.py compute --model runs/an4-gru/model --threads 2
    python tools/benchmark/export.py layer --model runs/an4-gru/model
    python tools/benchmark/export.py files --model runs/an4-gru/model FOLDER --threads 2
    python tools/benchmark/export.py random big     # makes a model of 20 M parameters to name above

`compute` takes features to log-probabilities, batch 1 and 8, the least time of several rounds of
all contenders in turn. "eager" is the same model with torch.nn.GRU in its layers, at batch 1 its
baseline; the floor is the time of all matrix products at the rate of one large product of that
precision, ONNX Runtime's for integers.
`layer` takes one direction of the first layer alone, on one thread, against torch.nn.GRU, and tells
what OpenVINO computes it with. `files` runs `asr transcribe` as a process, from audio files to
written text, with start-up, and tells the processors' seconds, which other programs hardly change,
and the most memory that it took.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from asr import Recognizer
from asr.acoustic import TorchAcoustic
from asr.export.folder import export_model
from asr.export.graph import Graph
from asr.export.products import add_unit_product
from asr.model import CTCModel, build_model
from asr.model_config import load_config
from asr.model_folder import load_model, save_model
from asr.runtime.backends import missing, open_engine
from asr.runtime.engine import OnnxEngine, computes_half
from asr.runtime.layout import direction_name
from asr.runtime.recognizer import ExportedRecognizer
from asr.tokenizer import CharacterTokenizer
from asr.transcriber import TranscribeOptions
from asr.windows import Chunking

PRODUCT_SIZE = 1024
EXPORTED = {
    f"{backend} {precision}": (precision, backend)
    for backend in ("onnx", "compiled")
    for precision in ("fp32", "int8")
}
if not missing("openvino"):
    EXPORTED["openvino fp32"] = ("fp32", "openvino")
    if computes_half():
        EXPORTED["openvino bf16"] = ("bf16", "openvino")


class EagerGRU(nn.Module):
    """A layer as torch.nn.GRU runs it, with random weights."""

    def __init__(self, gru: nn.Module, width: int, bidirectional: bool) -> None:
        super().__init__()
        units = width // (2 if bidirectional else 1)
        self.gru = nn.GRU(width, units, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        output, final = self.gru(x, state)
        return output, final


def make_eager(model: CTCModel) -> CTCModel:
    """Put torch.nn.GRU into the layers."""
    for layer in model.encoder.layers:
        layer.gru = EagerGRU(layer.gru, model.encoder.width, model.encoder.bidirectional)
    return model.eval()


def product_operations(model: CTCModel, frames: int) -> int:
    """Operations of all matrix products and convolutions, for so many encoder frames."""
    total = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and "convolutions" not in name
    )
    bands, thinned = model.features.n_mels, 1
    for level, convolution in enumerate(model.encoder.subsampling.convolutions):
        bands, thinned = (bands + 1) // 2, 2 ** (level + 1)
        total += convolution.weight.numel() * bands * model.subsampling_factor // thinned
    return 2 * total * frames


def least_seconds(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least time of each step after one to warm up, all in turn in every round.

    What else the machine does can only make a step slower, and meets all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: min(found[1:]) for name, found in times.items()}


def product_rates(threads: int) -> dict[str, float]:
    """Operations a second of one large product in float32 and of 8-bit integers."""
    n = PRODUCT_SIZE
    a, b = torch.randn(n, n), torch.randn(n, n)
    graph = Graph(precision="int8")
    matrix = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    graph.add_node("Identity", [add_unit_product(graph, "weight", "x", matrix)], ["y"])
    shape = (TensorProto.FLOAT, ["rows", n])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        path.write_bytes(graph.model("p", {"x": shape}, {"y": shape}, {}).SerializeToString())
        engine = OnnxEngine()
        engine._options.intra_op_num_threads = threads
        run = engine.load(path)
    rows = np.random.default_rng(1).uniform(-1, 1, (n, n)).astype(np.float32)
    found = least_seconds({"fp32": lambda: torch.mm(a, b), "int8": lambda: run(rows)}, 20)
    return {name: 2 * n**3 / seconds for name, seconds in found.items()}


def print_times(
    batch: int,
    found: Mapping[str, float],
    baseline: float,
    operations: int,
    rates: Mapping[str, float],
) -> None:
    """Print seconds of contenders, as ratios to a baseline and to the floor of their precision."""
    for name, seconds in found.items():
        floor = operations / rates["int8" if "int8" in name else "fp32"]
        print(
            f"{batch:5}  {name:13}  {1e3 * seconds:8.1f}  {baseline / seconds:18.2f}  "
            f"{seconds / floor:7.2f}",
            flush=True,
        )


def compute(args: argparse.Namespace) -> None:
    """Print times from features to log-probabilities."""
    model = load_model(args.model).model.eval()
    rates = product_rates(args.threads)
    print(f"{model.parameter_count() / 1e6:.1f} M parameters, {args.threads} threads, products at")
    print(", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()))
    eager = TorchAcoustic(make_eager(load_model(args.model).model))
    contenders: dict[str, Callable[..., object]] = {
        "eager nn.GRU": eager.classify,
        "own GRU": TorchAcoustic(model).classify,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (precision, backend) in EXPORTED.items():
            place = Path(folder) / precision
            if not place.exists():
                export_model(args.model, place, precision)
            contenders[name] = ExportedRecognizer(place, backend, args.threads).acoustic.classify
    frames = int(args.seconds * model.sample_rate / model.features.hop)
    operations = product_operations(model, frames // model.subsampling_factor)
    baseline = 0.0
    print("batch  contender          ms  x eager at batch 1  x floor")
    for batch in args.batches:
        rows = [torch.randn(frames // batch, model.features.n_mels) for _ in range(batch)]
        arrays = [each.numpy() for each in rows]
        steps = {
            name: partial(classify, rows if name in ("eager nn.GRU", "own GRU") else arrays)
            for name, classify in contenders.items()
        }
        with torch.inference_mode():
            found = least_seconds(steps, args.rounds)
        baseline = baseline or found["eager nn.GRU"]
        print_times(batch, found, baseline, operations, rates)


def layer(args: argparse.Namespace) -> None:
    """Print times of one direction of the first layer, on one thread."""
    model = load_model(args.model).model.eval()
    width = model.encoder.width
    units = width // (2 if model.encoder.bidirectional else 1)
    rates = product_rates(1)
    frames = int(args.seconds * model.sample_rate / model.samples_per_frame)
    operations = 2 * frames * 3 * units * (width + units)
    gru = nn.GRU(width, units, batch_first=True).eval()
    with tempfile.TemporaryDirectory() as folder:
        places = {each: Path(folder) / each for each in ("fp32", "int8")}
        for precision, place in places.items():
            export_model(args.model, place, precision)
        parts = {}
        for name, (precision, backend) in EXPORTED.items():
            if precision in places:
                config = load_config(places[precision])
                engine = open_engine(backend, config, 1)
                parts[name] = engine.load_direction(places[precision], 0, 0)
        if "openvino fp32" in parts:
            print("OpenVINO computes it with", openvino_kernel(places["fp32"], width, units))
    print(f"{width} inputs, {units} units, reset {model.encoder.layers[0].gru.reset}, 1 thread")
    print("batch  contender          ms            x nn.GRU  x floor")
    for batch in args.batches:
        hidden = torch.randn(batch, frames // batch, width)
        given = hidden.numpy(), np.full(batch, frames // batch), np.zeros((1, batch, units), "f4")
        steps = {name: partial(part, *given) for name, part in parts.items()}
        with torch.inference_mode():
            found = least_seconds({"nn.GRU": partial(gru, hidden), **steps}, args.rounds)
        print_times(batch, found, found["nn.GRU"], operations, rates)


def openvino_kernel(folder: Path, width: int, units: int) -> str:
    """Name the kernel that takes most of OpenVINO's time of a layer, and its share."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    path = str(folder / direction_name(0, 0))
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    hidden = np.random.default_rng(0).standard_normal((1, 100, width)).astype(np.float32)
    request.infer([hidden, np.array([100]), np.zeros((1, 1, units), np.float32)])
    times = {each: each.cpu_time.total_seconds() for each in request.get_profiling_info()}
    most = max(times, key=lambda each: times[each])
    share = times[most] / sum(times.values())
    return f"{most.node_type} {most.exec_type}, {100 * share:.0f} % of its time"


def transcribe_eagerly(args: argparse.Namespace) -> None:
    """Transcribe at batch 1 with torch.nn.GRU: the baseline of `files`, in a process of its own."""
    torch.set_num_threads(args.threads)
    recognizer = Recognizer.load(args.model, device="cpu")
    make_eager(recognizer.model)
    options = TranscribeOptions(batch_seconds=1e-3, chunking=Chunking(0.0))
    for transcript in recognizer.transcribe_many(sorted(args.inputs), options=options):
        print(len(transcript.text))


# A process counts what the one that started it had in memory; so a small one starts each.
_LAUNCH = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)
sys.exit(code)
"""


def run_process(words: Iterable[str]) -> tuple[float, float, float]:
    """Run a process; give its seconds, those of the processors, and its most megabytes."""
    launch = [sys.executable, "-S", "-c", _LAUNCH, *words]
    result = subprocess.run(launch, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"it failed: {result.stderr}")
    seconds, processor_seconds, megabytes = map(float, result.stdout.split())
    return seconds, processor_seconds, megabytes


def files(args: argparse.Namespace) -> None:
    """Print times of whole runs."""
    paths = [
        str(path)
        for each in map(Path, args.inputs)
        for path in ([each] if each.is_file() else sorted(each.rglob("*.flac"))[: args.most])
    ]
    from asr.audio import probe_audio

    seconds = sum(probe_audio(path).duration_seconds for path in paths)
    print(f"{len(paths)} files, {seconds:.0f} s of audio, {args.threads} threads")
    print("contender      seconds  audio/s  x eager  processor s  x eager  peak MB")
    common = ["--threads", str(args.threads)]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list.txt"
        listed.write_text("\n".join(str(Path(path).resolve()) for path in paths))
        asr = [sys.executable, "-m", "asr", "transcribe", f"@{listed}", "-q", *common]
        eager = [sys.executable, __file__, "eager", "--model", args.model, *common, *paths]
        runs = {
            "eager nn.GRU": eager,
            "own GRU": [*asr, "-m", args.model, "-o", f"{folder}/own"],
        }
        for name, (precision, backend) in EXPORTED.items():
            place = Path(folder) / precision
            if not place.exists():
                export_model(args.model, place, precision)
            out = f"{folder}/{name.replace(' ', '-')}"
            runs[name] = [*asr, "-m", str(place), "--backend", backend, "-o", out]
        baselines: tuple[float, float] | None = None
        for name, words in runs.items():
            spent, used, peak = run_process(words)
            baselines = baselines or (spent, used)
            print(
                f"{name:13}  {spent:7.1f}  {seconds / spent:7.0f}  {baselines[0] / spent:7.2f}  "
                f"{used:11.1f}  {baselines[1] / used:7.2f}  {peak:7.0f}",
                flush=True,
            )


def save_big(args: argparse.Namespace) -> None:
    """Save a model of 20 M parameters with random weights."""
    config = {
        "features": {"n_mels": 80},
        "encoder": {"layers": 4, "width": 1024, "reset": args.reset},
    }
    tokenizer = CharacterTokenizer(" ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
    torch.manual_seed(0)
    model = build_model(config, tokenizer.vocabulary_size)
    save_model(args.folder, model, tokenizer, config)
    print(f"{model.parameter_count() / 1e6:.1f} M parameters in {args.folder}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    functions = {"compute": compute, "layer": layer, "files": files, "eager": transcribe_eagerly}
    for name, function in functions.items():
        verb = verbs.add_parser(name)
        verb.set_defaults(run=function)
        verb.add_argument("--model", required=True)
        verb.add_argument("--threads", type=int, default=2)
        verb.add_argument("--seconds", type=float, default=120.0)
        verb.add_argument("--rounds", type=int, default=5)
        verb.add_argument("--batches", type=int, nargs="+", default=[1, 8])
        verb.add_argument("--most", type=int, default=10_000)
        if name in ("files", "eager"):
            verb.add_argument("inputs", nargs="+")
    verb = verbs.add_parser("random")
    verb.set_defaults(run=save_big)
    verb.add_argument("folder")
    verb.add_argument("--reset", default="after", choices=("before", "after"))
    args = parser.parse_args()
    if args.verb != "random":
        torch.set_num_threads(1 if args.verb == "layer" else args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
