"""`asr align`: when each word and token of a known text is said."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.computing import add_computing_arguments, load_transcriber, use_threads
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.alignment import Spoken

FORMATS = ("ctm", "textgrid", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    from asr.text import NORMALIZERS

    parser.add_argument("audio", metavar="AUDIO", help="a recording, or a JSONL manifest")
    parser.add_argument(
        "text",
        nargs="?",
        metavar="TEXT",
        help="what is said in the recording: a text file, or the words themselves in quotes; a "
        "manifest has its own texts",
    )
    parser.add_argument("-m", "--model", required=True, metavar="DIR", help="a model folder")
    parser.add_argument(
        "-f",
        "--output-format",
        choices=FORMATS,
        default="ctm",
        help="ctm: a word a line with start, duration and confidence; textgrid: words and tokens "
        "for Praat; json: both (default ctm)",
    )
    parser.add_argument(
        "-o", "--output-dir", metavar="DIR", help="write a file for each recording here"
    )
    parser.add_argument(
        "--normalizer",
        choices=list(NORMALIZERS),
        default="none",
        help="applied to the text, to bring it to the model's characters (default: none)",
    )
    add_computing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Align every recording; what cannot be aligned is named, and the others go on.

    Args:
        args: what `add_arguments` declares.

    Returns:
        1 where a recording could not be aligned, else 0.

    Raises:
        UsageError: a text is missing or too much, or the output does not fit one file.
    """
    use_threads(args)
    recordings = _recordings(args)
    if args.output_dir is None and args.output_format == "textgrid" and len(recordings) > 1:
        raise UsageError(
            f"{len(recordings)} TextGrids do not make one file; name a folder for them, -o DIR"
        )

    from tqdm import tqdm

    from asr.alignment import align_recordings
    from asr.alignment_formats import format_alignment
    from asr.files import atomic_write
    from asr.output import suffix_of
    from asr.output.names import Named, distinct_names

    recognizer = load_transcriber(args, _say)
    places, _ = distinct_names([Named(each.path, each.id, whole=True) for each in recordings])
    found = tqdm(
        align_recordings(
            recognizer, recordings, batch_seconds=args.batch_seconds, workers=args.workers
        ),
        "aligning",
        len(recordings),
        unit="utt",
        disable=args.quiet or len(recordings) == 1,
    )
    failed = 0
    for place, each in zip(places, found, strict=True):
        if each.error is not None:
            failed += 1
            tqdm.write(f"asr align: {each.id}: {each.error}", file=sys.stderr)
            continue
        content = format_alignment(args.output_format, each, one_line=len(recordings) > 1)
        if args.output_dir is None:
            tqdm.write(content, file=sys.stdout, end="")
            continue
        with atomic_write(
            Path(args.output_dir, f"{place}.{suffix_of(args.output_format)}")
        ) as stream:
            stream.write(content)
    if failed:
        _say(f"{failed} of {len(recordings)} recordings were not aligned")
    return 1 if failed else 0


def _say(sentence: str) -> None:
    print(f"asr align: {sentence}", file=sys.stderr)


def _recordings(args: argparse.Namespace) -> "list[Spoken]":
    from asr.manifest import read_manifest
    from asr.text import normalize_text

    if Path(args.audio).suffix == ".jsonl":
        if args.text is not None:
            raise UsageError(f"the manifest {args.audio} has its own texts; leave TEXT out")
        spoken = [(each.id, each.audio_filepath, each.text) for each in read_manifest(args.audio)]
    else:
        if args.text is None:
            raise UsageError(f"what is said in {args.audio}? Give TEXT, a file or words in quotes")
        spoken = [(Path(args.audio).stem, args.audio, _read_text(args.text))]

    from asr.alignment import Spoken

    return [
        Spoken(identity, path, normalize_text(text, args.normalizer))
        for identity, path, text in spoken
    ]


def _read_text(text: str) -> str:
    try:
        is_file = Path(text).is_file()
    except OSError:
        # Too long for a name, so these are the words.
        is_file = False
    if not is_file:
        if text.endswith(".txt"):
            raise UsageError(f"there is no text file {text}")
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the text {text} cannot be read: {error}") from error
