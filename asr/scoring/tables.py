"""Tables hold a report's figures for programs: all of them as JSON, one row an utterance as CSV."""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import IO, Any

from asr import __version__
from asr.scoring.alignment import ErrorCounts
from asr.scoring.calibration import Calibration
from asr.scoring.reported import Reported

_COLUMNS = (
    "id",
    "speaker",
    "part",
    "duration_seconds",
    "words",
    "correct",
    "substitutions",
    "deletions",
    "insertions",
    "errors",
    "wer",
    "characters",
    "character_errors",
    "cer",
    "missing",
    "reference",
    "hypothesis",
    "audio_filepath",
)


def write_csv(reported: Reported, stream: IO[str]) -> None:
    """Write one row an utterance under a row of names.

    Rates are fractions, not percents: ``inf`` where something was inserted and nothing said. What
    is not known is an empty cell; ``missing`` is 1 where there was no hypothesis at all.

    Args:
        reported: what to write.
        stream: where to write.
    """
    details = reported.details
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for utterance in reported.score.utterances:
        words, characters = utterance.words, utterance.characters
        rows.writerow(
            (
                utterance.id,
                details.speakers.get(utterance.id, ""),
                details.parts.get(utterance.id, ""),
                details.durations.get(utterance.id, ""),
                words.words,
                words.correct,
                words.substitutions,
                words.deletions,
                words.insertions,
                words.errors,
                f"{words.rate:.6f}",
                characters.words,
                characters.errors,
                f"{characters.rate:.6f}",
                int(utterance.missing),
                utterance.reference,
                utterance.hypothesis,
                details.audio.get(utterance.id, ""),
            )
        )


def write_json(reported: Reported, stream: IO[str]) -> None:
    """Write everything: totals, groups, confusions, and every utterance with its alignment.

    Rates are fractions; null stands for those that are not finite and for what is not known.

    Args:
        reported: what to write.
        stream: where to write.
    """
    head = json.dumps(_figures(reported), indent=2, ensure_ascii=False, allow_nan=False)
    # Indented further, the words of all alignments would stand on a line each.
    stream.write(head.removesuffix("\n}") + ',\n  "utterances": [')
    for number, utterance in enumerate(_utterances(reported)):
        line = json.dumps(utterance, ensure_ascii=False, allow_nan=False)
        stream.write(f"{',' if number else ''}\n    {line}")
    stream.write("\n  ]\n}\n")


def _figures(reported: Reported) -> dict[str, Any]:
    score, interval, confusions = reported.score, reported.interval, reported.confusions
    return {
        "title": reported.title,
        "normalizer": reported.normalizer,
        "notes": list(reported.notes),
        "asr_version": __version__,
        "wer": finite(score.words.rate),
        "wer_interval": None
        if interval is None
        else {
            "low": finite(interval.low),
            "high": finite(interval.high),
            "level": interval.level,
            "unit": interval.unit,
            "replications": interval.replications,
            "method": interval.method,
        },
        "cer": finite(score.characters.rate),
        "ser": score.sentence_error_rate,
        "words": _counts(score.words),
        "characters": _counts(score.characters),
        "utterance_count": len(score.utterances),
        "sentence_errors": score.sentence_errors,
        "missing": list(score.missing),
        "groups": {
            name: [
                {
                    "name": group.name,
                    "utterances": group.utterances,
                    "sentence_errors": group.sentence_errors,
                    "wer": finite(group.words.rate),
                    "cer": finite(group.characters.rate),
                    "words": _counts(group.words),
                    "characters": _counts(group.characters),
                }
                for group in groups
            ]
            for name, groups in reported.groups.items()
        },
        "confusions": {
            "substitutions": [list(entry) for entry in confusions.substitutions],
            "deletions": [list(entry) for entry in confusions.deletions],
            "insertions": [list(entry) for entry in confusions.insertions],
        },
        "calibration": _calibration(reported.calibration),
    }


def _utterances(reported: Reported) -> Iterable[dict[str, Any]]:
    details = reported.details
    for utterance, alignment in zip(reported.score.utterances, reported.alignments, strict=True):
        identity = utterance.id
        confidences = details.confidences.get(identity)
        yield {
            "id": identity,
            "speaker": details.speakers.get(identity),
            "part": details.parts.get(identity),
            "duration_seconds": details.durations.get(identity),
            "audio_filepath": details.audio.get(identity),
            "missing": utterance.missing,
            "wer": finite(utterance.words.rate),
            "cer": finite(utterance.characters.rate),
            "words": _counts(utterance.words),
            "characters": _counts(utterance.characters),
            "reference": utterance.reference,
            "hypothesis": utterance.hypothesis,
            "alignment": [list(operation) for operation in alignment.operations],
            "confidences": None if confidences is None else [finite(c) for c in confidences],
        }


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    return None if calibration is None else asdict(calibration)


def _counts(counts: ErrorCounts) -> dict[str, int]:
    return {**asdict(counts), "errors": counts.errors, "reference_length": counts.words}


def finite(value: float) -> float | None:
    """Give what JSON can hold: neither infinity nor NaN."""
    return value if math.isfinite(value) else None
