"""`asr score` sets hypotheses of any system against references and counts what is wrong."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.comparing import FORMATS, add_formats, add_rules, read_rules
from asr.cli.gate import add_gate, is_above

if TYPE_CHECKING:
    from asr.scoring import Details, Score
    from asr.scoring.breakdown import Group
    from asr.scoring.intervals import Interval
    from asr.scoring.transcripts import Transcripts

_GROUPINGS = ("part", "speaker", "length", "duration")
# Without --by, a table is printed when it is no longer than this.
_SHORT = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "formats: manifest (JSONL with text, pred_text, nbest), text (ID TEXT), trn (TEXT (ID)),\n"
        "stm and ctm (joined by time), librispeech (a folder with *.trans.txt), lines (plain\n"
        "lines, only by request). Utterances are joined by id."
    )
    for side, what in (("ref", "what was said"), ("hyp", "what was recognised")):
        parser.add_argument(
            f"--{side}",
            required=True,
            nargs="+",
            action="extend",
            type=Path,
            metavar=side.upper(),
            help=f"{what}: a file or folder, or several",
        )
    add_formats(parser, "HYP")
    add_rules(parser)
    _add_outputs(parser)
    add_gate(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        type=_groupings,
        metavar="LIST",
        help=f"tables to print, such as part,speaker; of {','.join(_GROUPINGS)}, or none "
        f"(default: those of 2 to {_SHORT} lines, durations only where a manifest tells them)",
    )
    parser.add_argument(
        "--speakers",
        type=Path,
        metavar="FILE",
        help="lines 'ID SPEAKER' (Kaldi's utt2spk), where the references do not tell them",
    )
    parser.add_argument(
        "--train-text",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="transcripts of the training data, in any format: precision by how often words occur",
    )
    parser.add_argument(
        "--train-format",
        choices=FORMATS,
        metavar="NAME",
        help="format of these, such as lines (default: found by name and content)",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=10,
        metavar="N",
        help="frequent errors to print of each kind (default: %(default)s)",
    )
    parser.add_argument(
        "--title", default="", help="name of the system in the report (default: HYP's)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write report.html, .json, .csv and sclite's"
    )


def run(args: argparse.Namespace) -> int:
    """Score, print the figures to stdout and what is to be known of them to stderr.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0, or 1 when the word error rate is above the gate.
    """
    from asr.scoring.confusions import frequent_errors
    from asr.scoring.formats import read_hypotheses, read_references
    from asr.scoring.intervals import bootstrap_interval
    from asr.scoring.listing import format_change
    from asr.scoring.report_folder import write_report
    from asr.scoring.score import score_pairs

    rewrite, rules = read_rules(args.normalizer, args.equivalents)
    references = read_references(args.ref, args.ref_format or args.format)
    found = read_hypotheses(args.hyp, args.hyp_format or args.format, references)
    details = _details(args, references, found)
    said, heard = _rewrite(references.texts, rewrite), _rewrite(found.texts, rewrite)
    score = score_pairs(said, heard, args.align)
    raw = score if _is_plain(args) else _score_raw(references, found, args.align)
    notes = [*references.notes, *found.notes, *_notes(args, references, found, score)]
    for note in notes:
        print(f"asr score: warning: {note}", file=sys.stderr)
    interval = bootstrap_interval(score, details.speakers)
    groups = _break_down(score, details)
    blocks = [
        _summary(args, score, raw, interval, rules),
        _tables(groups, args.by),
        _errors(score, args.most),
        *_extras(args, said, found, rewrite, score),
    ]
    print("\n\n".join(block for block in blocks if block))
    if args.report is not None:
        changed = [] if _is_plain(args) else [format_change(raw, score)]
        write_report(
            args.report,
            score,
            details,
            title=args.title or ", ".join(path.name for path in args.hyp),
            normalizer=rules,
            interval=interval,
            confusions=frequent_errors(score, 50),
            groups=groups,
            notes=[*changed, *notes],
            segments=references.segments,
            word_times=found.word_times,
        )
        print(f"asr score: the report is in {args.report}", file=sys.stderr)
    return 1 if is_above(score.words, args.max_wer, "score") else 0


def _is_plain(args: argparse.Namespace) -> bool:
    # Whether texts are compared as they stand.
    return args.normalizer == "none" and args.equivalents is None


def _rewrite(texts: Mapping[str, str], rewrite: Callable[[str], str]) -> dict[str, str]:
    return {identity: rewrite(text) for identity, text in texts.items()}


def _score_raw(references: "Transcripts", found: "Transcripts", method: str) -> "Score":
    from asr.scoring.score import score_pairs

    plain, _ = read_rules("none", None)
    return score_pairs(_rewrite(references.texts, plain), _rewrite(found.texts, plain), method)


def _details(
    args: argparse.Namespace, references: "Transcripts", found: "Transcripts"
) -> "Details":
    from asr.scoring.formats import read_pairs

    details = replace(references.details, confidences=found.details.confidences)
    if args.speakers is not None:
        known = read_pairs(args.speakers)
        details = replace(details, speakers={i: known[i] for i in references.texts if known.get(i)})
    wanted = args.report is not None or (args.by is not None and "duration" in args.by)
    if wanted and not details.durations:
        details = replace(details, durations=_measure(details.audio))
    return details


def _measure(audio: Mapping[str, str]) -> dict[str, float]:
    from tqdm import tqdm

    from asr.audio import probe_audio
    from asr.errors import AudioError

    durations = {}
    for identity, path in tqdm(audio.items(), "reading headers", unit="file", disable=None):
        try:
            durations[identity] = probe_audio(path).duration_seconds
        except (AudioError, OSError) as error:
            print(f"asr score: warning: no duration of {identity}: {error}", file=sys.stderr)
    return durations


def _notes(
    args: argparse.Namespace, references: "Transcripts", found: "Transcripts", score: "Score"
) -> Iterable[str]:
    from asr.scoring.score import shorten_ids

    if score.missing:
        yield (
            f"{len(score.missing)} of {len(score.utterances)} utterances have no hypothesis and "
            f"count as deletions: {shorten_ids(score.missing)}"
        )
    twice = {path.resolve() for path in args.ref} & {path.resolve() for path in args.hyp}
    if twice and found.texts == references.texts:
        yield f"{min(twice)} is on both sides, with the same texts; is pred_text missing in it?"
    misfits = [
        identity
        for identity, values in found.details.confidences.items()
        if len(values) != len(found.texts[identity].split())
    ]
    if misfits:
        yield (
            f"{len(misfits)} hypotheses have more or fewer confidences than words: "
            f"{shorten_ids(misfits)}"
        )


def _break_down(score: "Score", details: "Details") -> "dict[str, tuple[Group, ...]]":
    from asr.scoring.breakdown import break_down, duration_groups, length_groups

    groupings = {
        "part": details.parts,
        "speaker": details.speakers,
        "length": length_groups(score),
        "duration": duration_groups(details),
    }
    broken = {name: break_down(score, groups) for name, groups in groupings.items()}
    return {name: groups for name, groups in broken.items() if groups}


def _summary(
    args: argparse.Namespace, score: "Score", raw: "Score", interval: "Interval", rules: str
) -> str:
    from asr.scoring.listing import format_change, format_interval
    from asr.scoring.report import format_summary

    lines = [format_summary(score), format_interval(interval)]
    lines.append(f"normalizer {rules}, alignment {args.align}")
    if not _is_plain(args):
        lines.append(format_change(raw, score))
    return "\n".join(lines)


def _tables(groups: "Mapping[str, tuple[Group, ...]]", by: Sequence[str] | None) -> str:
    from asr.scoring.listing import format_groups

    if by is None:
        chosen = [name for name, table in groups.items() if 1 < len(table) <= _SHORT]
    else:
        chosen = [name for name in by if name in groups]
        for name in by:
            if name not in groups:
                print(f"asr score: no {name} of any utterance is known", file=sys.stderr)
    return "\n\n".join(format_groups(name, groups[name]) for name in chosen)


def _errors(score: "Score", most: int) -> str:
    from asr.scoring.confusions import frequent_errors
    from asr.scoring.listing import format_confusions

    return format_confusions(frequent_errors(score, most)) if most else ""


def _extras(
    args: argparse.Namespace,
    said: Mapping[str, str],
    found: "Transcripts",
    rewrite: Callable[[str], str],
    score: "Score",
) -> Iterable[str]:
    from asr.scoring.breakdown import frequency_classes
    from asr.scoring.formats import read_references
    from asr.scoring.listing import format_classes
    from asr.scoring.nbest import oracle
    from asr.scoring.report import format_counts

    if args.train_text:
        training = read_references(args.train_text, args.train_format).texts.values()
        yield format_classes(frequency_classes(score, map(rewrite, training)))
    if found.nbest:
        single = {identity: (text,) for identity, text in found.texts.items()}
        listed: dict[str, tuple[str, ...]] = {**single, **found.nbest}
        best = {identity: [rewrite(text) for text in texts] for identity, texts in listed.items()}
        counts = format_counts("WER", oracle(said, best).words)
        longest = max(map(len, best.values()))
        yield f"oracle of {len(found.nbest)} n-best lists of up to {longest}: {counts}"


def _groupings(word: str) -> tuple[str, ...]:
    names = tuple(name for name in word.split(",") if name and name != "none")
    unknown = [name for name in names if name not in _GROUPINGS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"'{unknown[0]}' is no grouping; there are {', '.join(_GROUPINGS)}, or none"
        )
    return names
