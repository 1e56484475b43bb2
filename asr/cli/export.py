"""`asr export`: a model as ONNX graphs, which transcribe faster on a CPU and without torch."""

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asr.errors import ExportError, UsageError

INSTALL_HINT = "pip install onnx onnxruntime"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `asr export`."""
    parser.add_argument("model", metavar="MODEL", help="a model folder")
    parser.add_argument(
        "-o",
        "--output-dir",
        required=True,
        metavar="DIR",
        help="write the exported model here; an exported model there is replaced",
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "bf16", "int8"),
        help="fp32: the same log-probabilities as torch up to rounding; bf16: weights in half the "
        "space, computed in bfloat16 by OpenVINO where the processor can; int8: products of 8-bit "
        "integers, fastest where many recordings or long ones are transcribed (default fp32)",
    )
    parser.add_argument(
        "--check",
        metavar="MANIFEST",
        help="measure the word error rate on a manifest before and after, and write nothing if it "
        "rises by too much",
    )
    parser.add_argument(
        "--max-wer-increase",
        type=float,
        default=0.1,
        metavar="W",
        help="by how much it may rise with --check, in per cent absolute (default 0.1)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(args: argparse.Namespace) -> int:
    """Write the exported model, if it recognises as well as it must."""
    for package in ("onnx", *(("onnxruntime",) if args.check else ())):
        if find_spec(package) is None:
            raise UsageError(f"the package {package} is needed: {INSTALL_HINT}")
    from asr.export.folder import export_model

    check = _wer_check(args) if args.check else None
    size = export_model(args.model, args.output_dir, args.precision, check)
    if args.quiet:
        return 0
    if args.precision != "fp32" and check is None:
        _say("what rounding costs was not measured: --check MANIFEST compares word error rates")
    _say(
        f"{args.precision}, {size / 1e6:.1f} MB in {args.output_dir}; "
        f"`asr transcribe FILE -m {args.output_dir}` runs it"
    )
    return 0


def _wer_check(args: argparse.Namespace) -> Callable[[Path], Mapping[str, Any]]:
    from asr.evaluation import Transcriber, evaluate
    from asr.manifest import read_manifest
    from asr.recognizer import Recognizer
    from asr.runtime.backends import usable_backends
    from asr.runtime.recognizer import ExportedRecognizer

    utterances = read_manifest(args.check)

    def errors(recognizer: Transcriber) -> tuple[int, int, float]:
        words = evaluate(recognizer, utterances, progress=not args.quiet).score.words
        return words.errors, words.words, 100 * words.rate

    # Before the export, so that a manifest of no use costs no time.
    wrong, total, before = errors(Recognizer.load(args.model, device="cpu"))

    def check(folder: Path) -> Mapping[str, Any]:
        names = usable_backends(folder)
        # With 8-bit weights they round activations differently; else they give the same.
        found = {
            name: errors(ExportedRecognizer(folder, name))
            for name in (names if args.precision == "int8" else names[:1])
        }
        worst = max(found, key=lambda name: found[name][0])
        now, _, after = found[worst]
        change = f"WER {before:.2f} % in torch, {after:.2f} % exported with {worst} ({wrong} and "
        change += f"{now} errors in {total} words of {args.check})"
        if after - before > args.max_wer_increase:
            raise ExportError(
                f"{change}: it rises by more than {args.max_wer_increase:g}, and nothing was "
                "written; take another --precision, or allow it with --max-wer-increase"
            )
        if not args.quiet:
            _say(change)
        return {"manifest": str(args.check), "wer_before": before, "wer_after": after}

    return check


def _say(sentence: str) -> None:
    print(f"asr export: {sentence}", file=sys.stderr)
