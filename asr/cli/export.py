"""`asr export`: a model as ONNX graphs, which transcribe faster on a CPU and without torch."""

import argparse
import sys
from importlib.util import find_spec

from asr.errors import UsageError

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
        help="fp32: the same log-probabilities as torch to 1e-4; bf16: weights in half the space, "
        "computed in bfloat16 only where the processor can; int8: products of 8-bit integers, "
        "fastest with many recordings or long ones (default fp32)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(args: argparse.Namespace) -> int:
    """Write the exported model."""
    if find_spec("onnx") is None:
        raise UsageError(f"writing graphs needs the package onnx: {INSTALL_HINT}")
    from asr.export.folder import export_model

    size = export_model(args.model, args.output_dir, args.precision)
    if not args.quiet:
        print(
            f"asr export: {args.precision}, {size / 1e6:.1f} MB in {args.output_dir}; "
            f"`asr transcribe FILE -m {args.output_dir}` runs it",
            file=sys.stderr,
        )
    return 0
