"""`asr prepare`: turn a corpus into verified JSONL manifests."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.corpora import Refusal
    from asr.preparation import HoldOut, ManifestSummary, PreparationReport

SHOWN_REFUSALS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `asr prepare` takes.

    Args:
        parser: of this verb.
    """
    from asr.corpora import CORPORA
    from asr.text import NORMALIZERS

    width = max(map(len, CORPORA))
    lines = [f"  {name:{width}}  {corpus.summary}" for name, corpus in CORPORA.items()]
    rules = [f"  {name:{width}}  {rule.summary}" for name, rule in NORMALIZERS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["corpora:", *lines, "", "normalizers:", *rules])
    parser.add_argument("corpus", choices=CORPORA, metavar="CORPUS", help="one of those below")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where it lies")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the manifests"
    )
    parser.add_argument("--splits", metavar="A,B", help="which splits (default: all present)")
    held = parser.add_mutually_exclusive_group()
    held.add_argument(
        "--valid-speakers",
        metavar="LIST",
        help="hold these speakers out of training: a file of names, or names with commas",
    )
    held.add_argument(
        "--valid-utterances",
        type=int,
        metavar="N",
        help="hold out whole speakers, in sorted order, until there are N utterances "
        "(default: 100 for an4, 0 otherwise)",
    )
    parser.add_argument("--normalizer", choices=NORMALIZERS, help="default: the corpus' own")
    parser.add_argument(
        "--characters", help="refuse transcripts with others than these (default: the corpus' own)"
    )
    parser.add_argument("--min-duration", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--max-duration", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument(
        "--transcripts", type=Path, metavar="FILE", help="folder: one table, tsv, csv or jsonl"
    )
    parser.add_argument(
        "--speaker-from",
        default="",
        metavar="RULE",
        help="folder: 'parent' for the folder's name, or a regular expression whose group "
        "finds the speaker in the path",
    )
    parser.add_argument(
        "--decode-all",
        action="store_true",
        help="decode unchanged audio too; otherwise what an earlier run heard in it holds",
    )
    _add_means(parser)


def _add_means(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shards",
        metavar="PLACE",
        help="also write the audio as tar shards (WebDataset's layout) into this folder or URL, "
        "from which training reads without a copy: data.train=PLACE/train.jsonl",
    )
    parser.add_argument(
        "--shard-mb", type=float, default=500, metavar="N", help="size of one (default: 500)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="default: one for each core")


def run(args: argparse.Namespace) -> int:
    """Prepare a corpus and print what came of it.

    Args:
        args: as ``add_arguments`` describes them.

    Returns:
        0, or 1 where anything was refused.

    Raises:
        UsageError: nothing was found, or options do not fit together or the corpus.
    """
    from asr.corpora import CORPORA, ReadOptions
    from asr.errors import UsageError
    from asr.listening import AudioMemory
    from asr.preparation import prepare_corpus
    from asr.verification import Rules

    corpus = CORPORA[args.corpus]
    if args.corpus != "folder" and (args.transcripts or args.speaker_from):
        raise UsageError("--transcripts and --speaker-from are for the corpus 'folder' only")
    if args.shard_mb <= 0:
        raise UsageError(f"--shard-mb is {args.shard_mb:g}; expected megabytes, more than 0")
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs is {args.jobs}; expected 1 or more")
    if corpus.generate and not args.root.is_file() and not corpus.splits(args.root):
        corpus.generate(args.root)
    if not args.root.is_dir():
        raise UsageError(f"there is no folder {args.root}; --root is where the corpus lies")
    normalizer = args.normalizer or corpus.normalizer
    # A corpus' own characters are those that its own normaliser leaves.
    own = corpus.characters if normalizer == corpus.normalizer else ""
    characters = own if args.characters is None else args.characters
    memory = AudioMemory(args.out, forget=args.decode_all)
    report = prepare_corpus(
        args.corpus,
        corpus,
        args.root,
        args.out,
        splits=[split for split in (args.splits or "").split(",") if split],
        options=ReadOptions(args.transcripts, args.speaker_from),
        rules=Rules(normalizer, characters, args.min_duration, args.max_duration),
        hold_out=_hold_out(args),
        memory=memory,
        jobs=args.jobs,
    )
    _print_report(report, args.out)
    print(f"audio: {memory.decoded} decoded, {memory.remembered} unchanged since they were")
    if args.shards:
        _write_shards(report, args)
    return 1 if report.refused else 0


def _hold_out(args: argparse.Namespace) -> "HoldOut | None":
    from asr.errors import UsageError
    from asr.preparation import HoldOut

    if args.valid_speakers is not None:
        return HoldOut.named(args.valid_speakers)
    if args.valid_utterances is not None:
        if args.valid_utterances < 0:
            raise UsageError(f"--valid-utterances is {args.valid_utterances}; expected 0 or more")
        return HoldOut(utterances=args.valid_utterances)
    return None


def _print_report(report: "PreparationReport", out: Path) -> None:
    from asr.preparation import REPORT_NAME

    _print_refusals("refused", report.refused, out / REPORT_NAME)
    _print_refusals("left out", report.left_out, out / REPORT_NAME)
    for speaker, places in list(report.shared_speakers.items())[:SHOWN_REFUSALS]:
        print(f"note: speaker {speaker} is heard in {' and '.join(places)}", file=sys.stderr)
    heads = ("manifest", "utterances", "hours", "speakers", "seconds", "sample rates", "chars")
    rows: list[tuple[str, ...]] = [heads, *map(_row, report.manifests)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    characters = sorted({c for summary in report.manifests for c in summary.characters})
    print(f"characters: {''.join(characters)!r}   normalizer: {report.normalizer}")
    if report.valid_speakers:
        print(f"held out for valid: {' '.join(report.valid_speakers)}")
    print(f"refused: {len(report.refused)}   left out: {len(report.left_out)}")
    print(f"written to {out}: {' '.join(f'{s.name}.jsonl' for s in report.manifests)}")


def _write_shards(report: "PreparationReport", args: argparse.Namespace) -> None:
    from asr.manifest import read_manifest
    from asr.shards import write_shards

    size = round(1e6 * args.shard_mb)
    for summary in report.manifests:
        utterances = read_manifest(args.out / f"{summary.name}.jsonl")
        found = write_shards(utterances, summary.name, args.shards, size)
        state = "" if found.written else ", whole already"
        print(f"{found.manifest}: {found.shards} shards, {found.size / 1e6:.1f} MB{state}")


def _row(summary: "ManifestSummary") -> tuple[str, ...]:
    rates = summary.sample_rates
    return (
        summary.name,
        str(summary.utterances),
        f"{summary.hours:.3f}",
        str(summary.speakers or "?"),
        f"{summary.shortest_seconds:.2f} to {summary.longest_seconds:.2f}",
        ", ".join(f"{rate} Hz" + (f" ({rates[rate]})" if len(rates) > 1 else "") for rate in rates),
        str(len(summary.characters)),
    )


def _print_refusals(word: str, refusals: "tuple[Refusal, ...]", report: Path) -> None:
    for refusal in refusals[:SHOWN_REFUSALS]:
        print(f"{word}: {refusal.id or '?'}: {refusal.reason} [{refusal.place}]", file=sys.stderr)
    if len(refusals) > SHOWN_REFUSALS:
        print(f"{word}: {len(refusals) - SHOWN_REFUSALS} more, see {report}", file=sys.stderr)
