"""The flags that say what computes: backend, device, precision, threads; and a model loaded so."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UsageError
from asr.runtime.layout import WHOLE

if TYPE_CHECKING:
    from asr.transcriber import Transcriber

_WORKERS = 2


def add_computing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags.

    Args:
        parser: the verb's own parser.
    """
    group = parser.add_argument_group("computing")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument(
        "--backend",
        default="auto",
        choices=("auto", "torch", "compiled", "onnx", "openvino"),
        help="what computes: torch for a trained model; for one of `asr export` ONNX Runtime, "
        "OpenVINO, or compiled: layers as machine code made here for this processor; auto: the "
        "fastest that is installed for it (default auto)",
    )
    group.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="of the encoder's matrix products in torch (default fp32)",
    )
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads that encode (default: one for each processor); those of --workers come on "
        "top, unless N is 1",
    )
    group.add_argument(
        "--batch-seconds",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds of audio encoded together; changes speed and memory only (default 120)",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads that read audio and compute features meanwhile; 0: those of --threads do it "
        "in between, except for recordings of more than 15 minutes, which one more reads (default "
        "2, with --threads 1 none)",
    )
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no notes")


def use_threads(args: argparse.Namespace) -> None:
    """Check the flags, and tell every library how many threads it may start, before any is loaded.

    Args:
        args: what `add_computing_arguments` declares.

    Raises:
        UsageError: fewer than one, or another number that cannot be.
    """
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads is {args.threads}; expected 1 or more")
    if not 0 < args.batch_seconds < math.inf:
        raise UsageError(f"--batch-seconds is {args.batch_seconds}; expected more than 0")
    if args.workers is None:
        args.workers = 0 if args.threads == 1 else _WORKERS
    if args.workers < 0:
        raise UsageError(f"--workers is {args.workers}; expected threads, 0 or more")
    for library in ("OMP", "OPENBLAS", "MKL"):
        if args.threads is not None:
            os.environ[f"{library}_NUM_THREADS"] = str(args.threads)
    if args.backend != "torch" and (Path(args.model) / WHOLE).is_file():
        # Beside an exported model NumPy has small products only; its threads would start in vain.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def load_transcriber(args: argparse.Namespace, say: Callable[[str], None]) -> "Transcriber":
    """Load a model with the backend that the command line asks for.

    Args:
        args: what `add_computing_arguments` declares, and the `model` folder.
        say: tells the user which backend was chosen of those that run an exported model.

    Raises:
        ModelFolderError: the model is unusable.
        UsageError: a backend that is not installed or does not fit the model or the other flags.
    """
    from asr.runtime.backends import choose_backend
    from asr.runtime.recognizer import ExportedRecognizer

    backend = choose_backend(args.backend, args.model)
    if backend != "torch":
        _check_exported(args)
        exported = ExportedRecognizer(args.model, backend, args.threads)
        if args.backend == "auto" and not args.quiet:
            say(f"--backend auto takes {backend}")
        return exported
    import torch

    from asr.recognizer import Recognizer

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return Recognizer.load(args.model, device=args.device, precision=args.precision or "fp32")


def _check_exported(args: argparse.Namespace) -> None:
    if args.precision is not None:
        raise UsageError(
            f"--precision {args.precision} is for torch; an exported model computes in the "
            "precision that `asr export --precision` gave it"
        )
    if args.device not in ("auto", "cpu"):
        raise UsageError(f"--device {args.device} is for torch; an exported model runs on the CPU")
