"""`asr evaluate` transcribes a manifest and scores it by word error rate."""

import argparse
import math
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    from asr.text import NORMALIZERS

    parser.add_argument("manifest", help="JSONL manifest with audio and reference texts")
    parser.add_argument("-m", "--model", required=True, help="model folder")
    parser.add_argument(
        "-o", "--output", help="folder for references, hypotheses, alignments and score.json"
    )
    parser.add_argument(
        "--batch-seconds",
        type=_positive,
        default=120.0,
        help="seconds of audio transcribed at once (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        default=2,
        help="threads that read audio ahead (default: %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)"
    )
    rules = "; ".join(f"{rule.name}: {rule.summary}" for rule in NORMALIZERS.values())
    parser.add_argument(
        "--normalizer",
        choices=list(NORMALIZERS),
        default="none",
        help=f"applied to both sides before scoring (default: none). {rules}",
    )
    parser.add_argument(
        "--max-wer",
        type=_percentage,
        metavar="PERCENT",
        help="exit with code 1 when the word error rate is above this, such as 5.0",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the summary to stdout and what went wrong to stderr.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0 when all audio was transcribed and the gate, if any, is kept; else 1.
    """
    from asr.manifest import read_manifest

    # A broken manifest shows before torch's seconds of import.
    utterances = read_manifest(args.manifest)

    from asr.evaluation import evaluate, format_evaluation
    from asr.recognizer import Recognizer

    evaluation = evaluate(
        Recognizer.load(args.model, device=args.device),
        utterances,
        args.output,
        batch_seconds=args.batch_seconds,
        workers=args.workers,
        normalizer=args.normalizer,
        model=args.model,
        manifest=args.manifest,
        progress=True,
    )
    for kind, notices in (("warning", evaluation.warnings), ("failed", evaluation.failures)):
        for notice in notices:
            print(f"asr evaluate: {kind}: {notice.id}: {notice.message}", file=sys.stderr)
    print(format_evaluation(evaluation))
    if args.output is not None:
        print(f"asr evaluate: details are in {args.output}", file=sys.stderr)
    words = evaluation.score.words
    # Multiplied out: 7 errors in 100 words are not above 7 %, though 100 * 0.07 > 7.
    above = args.max_wer is not None and 100 * words.errors > args.max_wer * words.words
    if above:
        print(
            f"asr evaluate: a word error rate of {100 * words.rate:.4f} % is above the "
            f"{args.max_wer:g} % that --max-wer allows",
            file=sys.stderr,
        )
    return 1 if above or evaluation.failures else 0


def _positive(word: str) -> float:
    value = float(word)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a number of seconds above 0")
    return value


def _count(word: str) -> int:
    value = int(word)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{word} is not a number of threads, 0 or more")
    return value


def _percentage(word: str) -> float:
    value = float(word)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a percentage of 0 or more")
    return value
