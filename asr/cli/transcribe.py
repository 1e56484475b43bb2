"""`asr transcribe`: what is said in recordings, printed or written into files of many formats."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.computing import add_computing_arguments, load_transcriber, use_threads
from asr.cli.decoder_options import add_decoder_arguments, decoder_record, use_decoder
from asr.errors import UsageError
from asr.inputs import Input, Inputs, find_inputs
from asr.interrupt import Interrupt
from asr.output import FORMATS, JOINABLE, format_named
from asr.run_log import RUN_LOG
from asr.segments import DEFAULT_SHAPE, Shape
from asr.text import readable

if TYPE_CHECKING:
    from asr.cli.progress import AudioProgress
    from asr.transcriber import TranscribeOptions, Transcriber
    from asr.transcript import Transcript

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `asr transcribe`."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a file in any common format; a folder, searched with all below it; a quoted pattern; "
        "-, standard input; @FILE, a list of these, a line each; a JSONL manifest",
    )
    parser.add_argument("-m", "--model", required=True, metavar="DIR", help="a model folder")
    _add_output_arguments(parser)
    add_decoder_arguments(parser, nbest=True)
    _add_shape_arguments(parser)
    _add_recording_arguments(parser)
    add_computing_arguments(parser)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output-dir",
        "--output_dir",
        metavar="DIR",
        help="write a file for each input and format here, in folders as the inputs are, and log "
        f"the run in {RUN_LOG}; without it the transcript is printed",
    )
    group.add_argument(
        "-f",
        "--output-format",
        "--output_format",
        default="txt",
        metavar="F[,F]",
        help=f"one or several of {', '.join(FORMATS)}, or all (default txt)",
    )
    group.add_argument(
        "--skip-existing",
        action="store_true",
        help="go on with a run that was broken off: leave out inputs whose outputs were made by "
        "the same model, options and input",
    )
    group.add_argument(
        "--on-error",
        choices=("continue", "stop"),
        default="continue",
        help="what to do when an input cannot be transcribed (default continue)",
    )


def _add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("segments and subtitles")
    group.add_argument(
        "--max-line-width",
        "--max_line_width",
        type=int,
        default=DEFAULT_SHAPE.max_line_width,
        metavar="N",
        help="characters of a line of subtitles (default %(default)s)",
    )
    group.add_argument(
        "--max-line-count",
        "--max_line_count",
        type=int,
        default=DEFAULT_SHAPE.max_line_count,
        metavar="N",
        help="lines of a segment (default %(default)s)",
    )
    group.add_argument(
        "--max-pause",
        type=float,
        default=DEFAULT_SHAPE.max_pause_seconds,
        metavar="S",
        help="a pause of so many seconds ends a segment (default %(default)s)",
    )


def _add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recordings")
    group.add_argument(
        "--channel",
        default="mix",
        metavar="C",
        help="mix: the mean of all channels; split: a transcript for each; or the number of one, "
        "from 1 (default mix)",
    )
    group.add_argument(
        "--chunk-length",
        type=float,
        metavar="S",
        help="seconds of a recording that are encoded at once; longer ones are cut and joined; 0: "
        "no recording is cut (default 40); changes memory and speed only, unless chunks overlap",
    )
    group.add_argument(
        "--chunk-overlap",
        type=float,
        metavar="S",
        help="encode each chunk afresh, reaching over into either neighbour by so many seconds; "
        "without it the encoder's states are carried from chunk to chunk, as if the recording were "
        "encoded whole",
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe every input; what cannot be read is named, and the others go on."""
    use_threads(args)
    formats = _formats(args.output_format)
    shape = Shape(args.max_line_width, args.max_line_count, args.max_pause)
    if args.output_dir is None and args.skip_existing:
        raise UsageError("--skip-existing needs an output folder, -o DIR")
    with ExitStack() as stack:
        inputs = find_inputs(args.inputs, stack)
        _check_standard_output(args, inputs, formats)
        options = _options(args, shape)
        recognizer = use_decoder(load_transcriber(args, _say), args)
        for note in () if args.quiet else inputs.notes:
            _say(note)
        for _, problem in inputs.problems:
            _say(problem)
        if not inputs.recordings:
            raise UsageError("there is nothing to transcribe")
        try:
            with Interrupt() as interrupt:
                if args.output_dir is None:
                    return _print(args, inputs, recognizer, options, formats[0], interrupt)
                return _write(args, inputs, recognizer, options, formats, interrupt)
        except KeyboardInterrupt:
            remedy = "; the same command with --skip-existing goes on" if args.output_dir else ""
            print(f"\nasr transcribe: interrupted{remedy}", file=sys.stderr)
            return INTERRUPTED


def _formats(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",")]
    if names == ["all"]:
        return list(FORMATS)
    for name in names:
        if name not in FORMATS:
            raise UsageError(
                f"invalid choice: '{name}' is no output format; expected {', '.join(FORMATS)}, "
                "several separated by commas, or all"
            )
    return list(dict.fromkeys(names))


def _check_standard_output(
    args: argparse.Namespace, inputs: Inputs, formats: Sequence[str]
) -> None:
    if args.output_dir is not None:
        return
    if len(formats) > 1:
        raise UsageError(f"{', '.join(formats)} are several files; name a folder for them, -o DIR")
    if len(inputs.recordings) > 1 and formats[0] not in JOINABLE:
        raise UsageError(
            f"{len(inputs.recordings)} transcripts as {formats[0]} do not make one file; name a "
            f"folder for them, -o DIR, or print one of {', '.join(JOINABLE)}"
        )


def _options(args: argparse.Namespace, shape: Shape) -> "TranscribeOptions":
    from asr.transcriber import TranscribeOptions
    from asr.windows import DEFAULT_CHUNKING, Chunking

    length = args.chunk_length
    chunking = Chunking(
        DEFAULT_CHUNKING.length_seconds if length is None else length, args.chunk_overlap
    )
    return TranscribeOptions(args.channel, chunking, shape, args.batch_seconds, args.workers)


def _print(
    args: argparse.Namespace,
    inputs: Inputs,
    recognizer: "Transcriber",
    options: "TranscribeOptions",
    form: str,
    interrupt: Interrupt,
) -> int:
    from asr.cli.progress import AudioProgress

    failed = len(inputs.problems)
    recordings = inputs.recordings
    paths = [each.path for each in recordings]
    with AudioProgress(paths, quiet=args.quiet) as progress:
        transcripts = recognizer.transcribe_many(
            paths, options=options, progress=progress.add_seconds
        )
        for each, transcript in _named(recordings, transcripts):
            interrupt.check()
            progress.add_file()
            _report(transcript, progress)
            if transcript.error is not None:
                failed += 1
                if args.on_error == "stop":
                    break
            else:
                content = format_named(form, transcript, options.shape)
                several = form == "txt" and len(recordings) > 1
                prefix = f"{readable(each.shown)}\t" if several else ""
                progress.write_out(prefix + content)
    return _conclude(failed, len(recordings) + len(inputs.problems))


def _write(
    args: argparse.Namespace,
    inputs: Inputs,
    recognizer: "Transcriber",
    options: "TranscribeOptions",
    formats: Sequence[str],
    interrupt: Interrupt,
) -> int:
    from asr.cli.progress import AudioProgress
    from asr.job import Job
    from asr.model_config import model_digest

    job = Job(
        inputs.recordings,
        Path(args.output_dir),
        formats,
        shape=options.shape,
        model=model_digest(args.model),
        options=_lasting(options, args.precision or "fp32", decoder_record(recognizer, args)),
        skip_existing=args.skip_existing,
    )
    for name, problem in inputs.problems:
        job.log_problem(name, problem)
    started = time.perf_counter()
    with AudioProgress([each.path for each in job.pending], quiet=args.quiet) as progress:

        def report(transcript: "Transcript") -> None:
            interrupt.check()
            progress.add_file()
            _report(transcript, progress)

        summary = job.run(
            recognizer,
            options,
            stop_on_error=args.on_error == "stop",
            progress=progress.add_seconds,
            report=report,
        )
    if args.skip_existing and not args.quiet:
        _say(f"{summary.skipped} inputs were done already")
    if not args.quiet:
        _say(
            f"{summary.written} transcripts in {args.output_dir}: {progress.heard} of audio in "
            f"{time.perf_counter() - started:.1f} s"
        )
    if summary.left:
        _say(f"stopped: {summary.left} inputs were not tried")
    total = len(inputs.recordings) + len(inputs.problems)
    return _conclude(summary.failed + len(inputs.problems), total)


def _lasting(options: "TranscribeOptions", precision: str, decoder: Any) -> dict[str, Any]:
    """Give the options that can change a transcript."""
    return {
        "channel": options.channel,
        "chunking": vars(options.chunking) if options.chunking else None,
        "precision": precision,
        "decoder": decoder,
    }


def _named(
    recordings: Sequence[Input], transcripts: "Iterator[Transcript]"
) -> "Iterator[tuple[Input, Transcript]]":
    from dataclasses import replace

    for each, transcript in zip(recordings, transcripts, strict=True):
        yield each, replace(transcript, path=each.shown, id=each.name)


def _report(transcript: "Transcript", progress: "AudioProgress") -> None:
    for warning in transcript.warnings:
        progress.write_error(f"asr transcribe: warning: {readable(warning)}")
    if transcript.error is not None:
        progress.write_error(f"asr transcribe: {readable(transcript.error)}")


def _conclude(failed: int, total: int) -> int:
    if failed:
        _say(f"{failed} of {total} inputs were not transcribed")
    return 1 if failed else 0


def _say(sentence: str) -> None:
    print(f"asr transcribe: {readable(sentence)}", file=sys.stderr)
