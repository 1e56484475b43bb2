"""`asr transcribe`: what is said in audio files, printed or written beside one another."""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UsageError
from asr.files import atomic_write

if TYPE_CHECKING:
    from asr.recognizer import Transcript

FORMATS = ("txt", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `asr transcribe`."""
    parser.add_argument("audio", nargs="+", metavar="FILE", help="audio in any common format")
    parser.add_argument("-m", "--model", required=True, metavar="DIR", help="a model folder")
    parser.add_argument(
        "-o",
        "--output-dir",
        metavar="DIR",
        help="write a transcript for each file here instead of printing",
    )
    parser.add_argument(
        "-f",
        "--output-format",
        choices=FORMATS,
        default="txt",
        help="txt: the words; json: with durations, log-probability and warnings (default txt)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--batch-seconds",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds of audio encoded together; changes speed and memory only (default 120)",
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read audio (default 2)"
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe every file; what cannot be read is named, and the others go on."""
    from tqdm import tqdm

    from asr.recognizer import Recognizer

    if args.batch_seconds <= 0:
        raise UsageError(f"--batch-seconds is {args.batch_seconds}; expected more than 0")
    outputs = _outputs(args.audio, args.output_dir, args.output_format)
    recognizer = Recognizer.load(args.model, device=args.device)
    transcripts: Iterable[Transcript] = tqdm(
        recognizer.transcribe_many(
            args.audio, batch_seconds=args.batch_seconds, workers=args.workers
        ),
        total=len(args.audio),
        unit="file",
        disable=len(args.audio) == 1,
    )
    failed = 0
    for transcript, output in zip(transcripts, outputs, strict=True):
        failed += _report(transcript, output, args.output_format, single=len(args.audio) == 1)
    if failed:
        print(
            f"asr transcribe: {failed} of {len(args.audio)} files were not transcribed",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _report(transcript: "Transcript", output: Path | None, form: str, single: bool) -> int:
    # Returns 1 for a file that failed.
    from tqdm import tqdm

    for warning in transcript.warnings:
        tqdm.write(f"asr transcribe: warning: {warning}", file=sys.stderr)
    if transcript.error is not None:
        tqdm.write(f"asr transcribe: {transcript.error}", file=sys.stderr)
        return 1
    if form == "json":
        content = json.dumps(asdict(transcript), ensure_ascii=False)
    else:
        content = transcript.text
    if output is not None:
        with atomic_write(output) as stream:
            stream.write(content + "\n")
    else:
        named = single or form == "json"
        tqdm.write(content if named else f"{transcript.path}\t{content}", file=sys.stdout)
    return 0


def _outputs(audio: list[str], folder: str | None, form: str) -> list[Path | None]:
    if folder is None:
        return [None] * len(audio)
    stems = [Path(name).stem for name in audio]
    # a.mp3 and a.wav keep their endings, so that neither overwrites the other.
    names = [
        Path(name).name if stems.count(stem) > 1 else stem
        for name, stem in zip(audio, stems, strict=True)
    ]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UsageError(
            f"two inputs would write {folder}/{doubled[0]}.{form}; transcribe them in two calls "
            "with an output folder each"
        )
    return [Path(folder, f"{name}.{form}") for name in names]
