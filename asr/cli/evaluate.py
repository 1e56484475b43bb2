"""`asr evaluate` transcribes a manifest and scores it by word error rate."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.computing import add_computing_arguments, load_transcriber, use_threads
from asr.cli.decoder_options import add_decoder_arguments, use_decoder
from asr.cli.gate import add_gate, is_above

if TYPE_CHECKING:
    from asr.evaluation import Evaluation
    from asr.manifest import Utterance
    from asr.scoring.intervals import Interval


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
        "--report",
        metavar="DIR",
        help="folder for report.html (figures, plots, every alignment, recordings to listen to), "
        "report.json, report.csv, and the sys, pra, dtl, trn and stm files of sclite",
    )
    rules = "; ".join(f"{rule.name}: {rule.summary}" for rule in NORMALIZERS.values())
    parser.add_argument(
        "--normalizer",
        choices=list(NORMALIZERS),
        default="none",
        help=f"applied to both sides before scoring (default: none). {rules}",
    )
    parser.add_argument(
        "--word-times",
        nargs="+",
        metavar="CTM",
        help="ctm files (or folders of them) with true times of words: also tells how far the "
        "starts of recognised words are from them",
    )
    add_decoder_arguments(parser)
    add_gate(parser)
    add_computing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the summary to stdout and what went wrong to stderr.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0 when all audio was transcribed and the gate, if any, is kept; else 1.
    """
    use_threads(args)
    from asr.files import reserved_folder
    from asr.manifest import read_manifest

    # A broken manifest shows before torch's seconds of import.
    utterances = read_manifest(args.manifest)
    # So does a folder that cannot be written.
    with reserved_folder(args.report):
        return _evaluate(args, utterances)


def _evaluate(args: argparse.Namespace, utterances: "Sequence[Utterance]") -> int:
    from asr.evaluation import evaluate, format_evaluation
    from asr.scoring.intervals import bootstrap_interval
    from asr.scoring.listing import format_interval
    from asr.scoring.word_times import read_word_times, start_errors

    truth = read_word_times(args.word_times) if args.word_times else None
    evaluation = evaluate(
        use_decoder(load_transcriber(args, _say), args),
        utterances,
        args.output,
        batch_seconds=args.batch_seconds,
        workers=args.workers,
        normalizer=args.normalizer,
        model=args.model,
        manifest=args.manifest,
        progress=not args.quiet,
    )
    for kind, notices in (("warning", evaluation.warnings), ("failed", evaluation.failures)):
        for notice in notices:
            _say(f"{kind}: {notice.id}: {notice.message}")
    score = evaluation.score
    speakers = {utterance.id: utterance.speaker for utterance in utterances if utterance.speaker}
    interval = bootstrap_interval(score, speakers)
    print(format_evaluation(evaluation))
    print(format_interval(interval))
    if truth is not None:
        print(f"word times: {start_errors(evaluation.words, truth)}")
    if args.output is not None:
        _say(f"details are in {args.output}")
    if args.report is not None:
        _write_report(args.report, evaluation, utterances, interval)
    above = is_above(score.words, args.max_wer, "evaluate")
    return 1 if above or evaluation.failures else 0


def _write_report(
    folder: str,
    evaluation: "Evaluation",
    utterances: "Sequence[Utterance]",
    interval: "Interval",
) -> None:
    from asr.scoring.breakdown import break_down, duration_groups, length_groups
    from asr.scoring.confusions import frequent_errors
    from asr.scoring.details import Details
    from asr.scoring.report_folder import write_report

    score = evaluation.score
    details = Details(
        speakers={each.id: each.speaker for each in utterances if each.speaker},
        durations={each.id: each.duration for each in utterances},
        audio={each.id: each.audio_filepath for each in utterances},
        confidences=evaluation.confidences,
    )
    groups = {
        "speaker": details.speakers,
        "length": length_groups(score),
        "duration": duration_groups(details),
    }
    write_report(
        folder,
        score,
        details,
        title=f"{evaluation.model} on {evaluation.manifest}",
        normalizer=evaluation.normalizer,
        interval=interval,
        confusions=frequent_errors(score, most=50),
        groups={name: break_down(score, group_of) for name, group_of in groups.items()},
        notes=tuple(_notes(evaluation)),
    )
    _say(f"the report is {Path(folder) / 'report.html'}")


def _notes(evaluation: "Evaluation") -> Iterator[str]:
    from asr.evaluation import format_speed
    from asr.scoring.listing import format_change

    yield format_speed(evaluation)
    if evaluation.raw.words != evaluation.score.words:
        yield format_change(evaluation.raw, evaluation.score)
    if evaluation.failures:
        yield (
            f"{len(evaluation.failures)} recordings could not be transcribed; all their words "
            "count as deletions."
        )
    for kind, notices in (("Failed", evaluation.failures), ("Warning", evaluation.warnings)):
        for notice in notices:
            yield f"{kind}: {notice.id}: {notice.message}"


def _say(sentence: str) -> None:
    print(f"asr evaluate: {sentence}", file=sys.stderr)
