"""`asr compare` sets two or more systems' errors on the same utterances against each other."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.comparing import add_formats, add_rules, read_rules

if TYPE_CHECKING:
    from asr.scoring import Score
    from asr.scoring.transcripts import Transcripts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    parser.add_argument(
        "systems",
        nargs="+",
        type=Path,
        metavar="HYP",
        help="what each system recognised, two or more: JSONL, id and text, trn, ctm, ...",
    )
    # No `nargs="+"`, which would swallow the systems that follow.
    parser.add_argument(
        "--ref",
        required=True,
        action="append",
        type=Path,
        help="what was said, a file or folder; give it again for further parts of a corpus",
    )
    parser.add_argument(
        "--name",
        action="append",
        help="what to call a system, once for each (default: the files' names)",
    )
    add_formats(parser, "each HYP")
    add_rules(parser)
    _add_outputs(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speakers",
        type=Path,
        metavar="FILE",
        help="lines 'ID SPEAKER' (Kaldi's utt2spk), where the references do not tell them",
    )
    for name, default, what in (
        ("--most", 5, "utterances to list that changed most, each way"),
        ("--replications", 10_000, "how often the bootstrap draws"),
        ("--seed", 0, "of the bootstrap"),
    ):
        parser.add_argument(
            name, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")


def run(args: argparse.Namespace) -> int:
    """Compare, print the result to stdout and warnings to stderr.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0 when all systems could be scored, whatever they differ in.
    """
    from asr.scoring.comparison import compare_all
    from asr.scoring.comparison_report import (
        comparison_figures,
        format_comparisons,
        format_systems,
    )
    from asr.scoring.formats import read_pairs, read_references

    names = _name_systems(args.systems, args.name)
    rewrite, rules = read_rules(args.normalizer, args.equivalents)
    references = read_references(args.ref, args.ref_format or args.format)
    _warn(references.notes)
    speakers = references.details.speakers
    if args.speakers is not None:
        speakers = read_pairs(args.speakers)
    scores = _score_systems(args, names, references, rewrite)
    comparisons = compare_all(
        scores, speakers, most=args.most, replications=args.replications, seed=args.seed
    )
    print(format_systems(scores))
    print(f"\n{format_comparisons(comparisons)}")
    print(f"\nnormalizer {rules}, alignment {args.align}")
    if args.json is not None:
        _write(
            args.json,
            {
                "references": [str(path) for path in args.ref],
                "hypotheses": [str(path) for path in args.systems],
                "normalizer": rules,
                "alignment": args.align,
                "seed": args.seed,
                **comparison_figures(scores, comparisons),
            },
        )
    return 0


def _name_systems(paths: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    from asr.errors import UsageError

    if len(paths) < 2:
        raise UsageError(f"there is only {paths[0]} to compare; give two or more systems")
    if names is None:
        short = [path.name for path in paths]
        names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(names) != len(paths):
        raise UsageError(
            f"{len(names)} names were given for {len(paths)} systems; expected one --name for each"
        )
    if len(set(names)) < len(names):
        raise UsageError(
            f"two of the systems {', '.join(names)} have the same name; tell them apart by --name"
        )
    return list(names)


def _score_systems(
    args: argparse.Namespace,
    names: Sequence[str],
    references: "Transcripts",
    rewrite: Callable[[str], str],
) -> "dict[str, Score]":
    from asr.scoring.formats import read_hypotheses
    from asr.scoring.score import score_pairs, shorten_ids

    said = {identity: rewrite(text) for identity, text in references.texts.items()}
    scores = {}
    for name, path in zip(names, args.systems, strict=True):
        found = read_hypotheses([path], args.hyp_format or args.format, references)
        _warn(found.notes)
        heard = {identity: rewrite(text) for identity, text in found.texts.items()}
        scores[name] = score_pairs(said, heard, args.align)
        missing = scores[name].missing
        if missing:
            _warn(
                [
                    f"{len(missing)} utterances have no hypothesis in {path} and count as "
                    f"deletions: {shorten_ids(missing)}"
                ]
            )
    return scores


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"asr compare: warning: {note}", file=sys.stderr)


def _write(path: Path, figures: dict[str, Any]) -> None:
    import json

    from asr.files import atomic_write

    with atomic_write(path) as stream:
        json.dump(figures, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
    print(f"asr compare: all figures are in {path}", file=sys.stderr)
