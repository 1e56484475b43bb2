"""`asr inspect` draws what the gates of a model do over a recording, or sums them up over many."""

import argparse
import sys

from asr.errors import UsageError

# A picture of every frame and unit of more than this nobody scrolls through.
MOST_SECONDS = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    parser.add_argument("audio", nargs="?", metavar="AUDIO", help="a recording of up to 10 minutes")
    parser.add_argument(
        "--summary", metavar="MANIFEST", help="sum up a JSONL manifest instead of one recording"
    )
    parser.add_argument("-m", "--model", required=True, metavar="DIR", help="a model folder")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the PNG and HTML, or for summary.png and summary.json",
    )
    parser.add_argument(
        "--layer", type=int, metavar="N", help="the layer to draw, from 1 (default: the last)"
    )
    parser.add_argument(
        "--direction",
        choices=("forward", "backward"),
        help="the direction to draw (default: forward); the page holds all of both",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def run(args: argparse.Namespace) -> int:
    """Draw or sum up; print the summary or the files written to stdout.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0 when all audio was read; else 1.
    """
    if (args.audio is None) == (args.summary is None):
        raise UsageError("give either one recording, AUDIO, or --summary MANIFEST")
    if args.summary is not None and (args.layer is not None or args.direction is not None):
        raise UsageError(
            "--layer and --direction choose what is drawn of one recording; --summary covers all "
            "layers: leave them out"
        )
    from asr.inspection.drawing import check_drawing

    check_drawing()
    return _summarize(args) if args.summary is not None else _draw(args)


def _draw(args: argparse.Namespace) -> int:
    from asr.files import reserved_folder
    from asr.inspection.results import write_trace
    from asr.inspection.trace import check_choice, trace_audio
    from asr.recognizer import Recognizer

    recognizer = Recognizer.load(args.model, device=args.device)
    check_choice(recognizer.model, args.layer, args.direction)
    with reserved_folder(args.output):
        trace = trace_audio(recognizer, args.audio, MOST_SECONDS)
    for warning in trace.warnings:
        print(f"asr inspect: warning: {warning}", file=sys.stderr)
    chosen = trace.choose(args.layer, args.direction)
    for path in write_trace(args.output, trace, chosen, progress=True):
        print(path)
    print(
        "asr inspect: word times are the model's own (best CTC path), not true times",
        file=sys.stderr,
    )
    return 0


def _summarize(args: argparse.Namespace) -> int:
    from asr.manifest import read_manifest

    # A broken manifest shows before torch's seconds of import.
    utterances = read_manifest(args.summary)

    from asr.files import reserved_folder
    from asr.inspection.report import format_summary
    from asr.inspection.results import write_summary
    from asr.inspection.summary import summarize
    from asr.recognizer import Recognizer

    recognizer = Recognizer.load(args.model, device=args.device)
    with reserved_folder(args.output):
        summary = summarize(
            recognizer, utterances, model=args.model, manifest=args.summary, progress=True
        )
    for warning in summary.warnings:
        print(f"asr inspect: warning: {warning}", file=sys.stderr)
    for item in summary.left_out:
        print(f"asr inspect: left out: {item.id}: {item.message}", file=sys.stderr)
    paths = write_summary(args.output, summary)
    print(format_summary(summary))
    print(f"asr inspect: written: {', '.join(map(str, paths))}", file=sys.stderr)
    return 1 if summary.left_out else 0
