"""A comparison's report: a few lines to read, and all figures for a program."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from asr.scoring.alignment import ErrorCounts
from asr.scoring.comparison import Change, Comparison, adjust_for_many
from asr.scoring.report import format_counts
from asr.scoring.score import Score

_CERTAIN = 0.05


def format_systems(scores: Mapping[str, Score]) -> str:
    """Write each system's word errors in a line of Kaldi's form.

    Args:
        scores: score by the system's name.

    Returns:
        Lines without a trailing newline; rates in percent.
    """
    return "\n".join(
        f"{format_counts('WER', score.words)} {name}"
        + (f" ({len(score.missing)} without a hypothesis)" if score.missing else "")
        for name, score in scores.items()
    )


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Write what two or more systems differ in.

    Args:
        comparisons: of each pair.

    Returns:
        Paragraphs without a trailing newline; rates in percent.
    """
    adjusted = adjust_for_many([comparison.test.p_value for comparison in comparisons])
    paragraphs = [
        _format(comparison, p_value, len(comparisons))
        for comparison, p_value in zip(comparisons, adjusted, strict=True)
    ]
    return "\n\n".join(paragraphs)


def _format(comparison: Comparison, adjusted: float, pairs: int) -> str:
    interval, test = comparison.interval, comparison.test
    first, second = comparison.first, comparison.second
    lines = [
        f"{second} against {first}: {100 * comparison.difference:+.2f} % absolute, "
        f"{100 * comparison.relative_difference:+.1f} % relative",
        f"  {100 * interval.level:g} % interval of the difference {100 * interval.low:+.2f} to "
        f"{100 * interval.high:+.2f} (paired, {interval.method})",
        f"  MAPSSWE: {test.segments} segments, z {test.z:.3f}, {_p_value(test.p_value)}"
        + (f", {_p_value(adjusted)} for {pairs} pairs (Holm)" if pairs > 1 else "")
        + f": {_verdict(comparison, adjusted)}",
        f"  fewer errors in {comparison.better} utterances, more in {comparison.worse}",
    ]
    for title, changes in (
        (f"{second} gains most", comparison.most_improved),
        (f"{second} loses most", comparison.most_worsened),
    ):
        if changes:
            lines.append(f"  where {title}:")
            lines += [line for change in changes for line in _format_change(change)]
    return "\n".join(lines)


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _verdict(comparison: Comparison, p_value: float) -> str:
    if p_value >= _CERTAIN:
        verdict = "no difference beyond chance"
    else:
        # The test's mean is of errors, the first system's less the second's.
        better = comparison.second if comparison.test.mean > 0 else comparison.first
        verdict = f"{better} is better"
    return verdict if comparison.test.reliable else f"{verdict} (few segments: not reliable)"


def _format_change(change: Change) -> list[str]:
    first, second = change.first, change.second
    return [
        f"    {first.id}: {first.words.errors} -> {second.words.errors} errors",
        f"      REF: {_shown(first.reference)}",
        f"      {first.words.errors:3}: {_shown(first.hypothesis)}",
        f"      {second.words.errors:3}: {_shown(second.hypothesis)}",
    ]


def _shown(text: str) -> str:
    return " ".join(text.split()) or "(nothing)"


def comparison_figures(
    scores: Mapping[str, Score], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """Collect all figures of a comparison for JSON.

    Args:
        scores: score by the system's name.
        comparisons: of each pair.

    Returns:
        Dictionaries, lists, strings and numbers only; None stands for what is not finite. Rates
        are fractions.
    """
    adjusted = adjust_for_many([comparison.test.p_value for comparison in comparisons])
    return {
        "systems": [
            {
                "name": name,
                "wer": _number(score.words.rate),
                "words": _counts(score.words),
                "utterances": len(score.utterances),
                "missing": list(score.missing),
            }
            for name, score in scores.items()
        ],
        "comparisons": [
            {
                "first": comparison.first,
                "second": comparison.second,
                "difference": comparison.difference,
                "relative_difference": comparison.relative_difference,
                "interval": _finite(asdict(comparison.interval)),
                "mapsswe": _finite(asdict(comparison.test) | {"p_value_holm": p_value}),
                "better": comparison.better,
                "worse": comparison.worse,
                "most_improved": [_change(change) for change in comparison.most_improved],
                "most_worsened": [_change(change) for change in comparison.most_worsened],
            }
            for comparison, p_value in zip(comparisons, adjusted, strict=True)
        ],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "id": change.first.id,
        "reference": change.first.reference,
        **{
            side: {"hypothesis": utterance.hypothesis, "words": _counts(utterance.words)}
            for side, utterance in (("first", change.first), ("second", change.second))
        },
    }


def _counts(counts: ErrorCounts) -> dict[str, int]:
    return {**asdict(counts), "errors": counts.errors, "reference_length": counts.words}


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _number(value) if isinstance(value, float) else value for key, value in figures.items()
    }


def _number(value: float) -> float | None:
    # JSON knows neither infinity nor NaN.
    return value if math.isfinite(value) else None
