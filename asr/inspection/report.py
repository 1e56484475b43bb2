"""The report of a summary: a table to read, figures to compute with."""

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from asr import __version__
from asr.inspection.memory import Values
from asr.inspection.summary import OnsetCurve, Summary, UnitSummary

MODELS_OWN_TIMES = (
    "word times are the model's own (best CTC path, first token of each word), not true times"
)
SPEECH_BY_LOUDNESS = (
    "speech and silence are told apart by loudness: the middle, in dB, between a recording's quiet "
    "and loud frames"
)
LASTING = "the quarter of units with the longest half-lives"
LEGEND = (
    "update gate: 0 keeps the old state, 1 takes the new; half-life: by the update gate alone",
    "dead: units whose state deviates by less than 0.01; extreme: gates below 0.05 or above 0.95; "
    "saturated: units whose gate is so in 95 % of frames",
)
_HEADS = (
    ("", "", ""),
    ("", "", "units"),
    ("update gate", "speech", "silence"),
    ("reset gate", "speech", "silence"),
    ("half-life (s)", "median", "90 %"),
    ("state moves", "speech", "silence"),
    ("", "", "dead"),
    ("saturated", "update", "reset"),
    ("extreme %", "update", "reset"),
)
_SHOWN_OFFSETS_SECONDS = 0.1


def format_summary(summary: Summary) -> str:
    """Write a summary as tables.

    Args:
        summary: what to write.

    Returns:
        Lines without a trailing newline.
    """
    seconds = summary.audio_seconds
    lines = [
        f"{summary.recordings} recordings, {seconds / 60:.1f} min, "
        f"{100 * summary.speech_seconds / max(seconds, 1e-9):.0f} % speech, {summary.words} words; "
        f"an encoder frame every {1000 * summary.frame_seconds:g} ms",
        "",
        *_table(_HEADS, [_row(units) for units in summary.units]),
        "",
        *LEGEND,
        SPEECH_BY_LOUDNESS,
    ]
    for title, curves, note in (
        ("word onsets", [units.words for units in summary.units], MODELS_OWN_TIMES),
        (
            "starts of speech after a pause",
            [units.starts for units in summary.units],
            SPEECH_BY_LOUDNESS,
        ),
    ):
        lines += ["", *_onsets(title, summary.units, curves)]
        if title == "word onsets":
            lines.append(note)
    if summary.left_out:
        names = ", ".join(item.id for item in summary.left_out)
        count = summary.recordings + len(summary.left_out)
        lines += ["", f"left out: {len(summary.left_out)} of {count} recordings: {names}"]
    return "\n".join(lines)


def _row(units: UnitSummary) -> list[str]:
    lives = units.half_lives.all
    return [
        units.name,
        str(units.units),
        _fixed(units.update_speech),
        _fixed(units.update_silence),
        _fixed(units.reset_speech),
        _fixed(units.reset_silence),
        _fixed(_percentile(lives, 50)),
        _fixed(_percentile(lives, 90)),
        _fixed(units.move_speech, 3),
        _fixed(units.move_silence, 3),
        str(units.dead),
        str(units.update_saturated),
        str(units.reset_saturated),
        _fixed(100 * units.update_extreme, 0),
        _fixed(100 * units.reset_extreme, 0),
    ]


def _table(heads: Sequence[tuple[str, str, str]], rows: Sequence[Sequence[str]]) -> list[str]:
    # A head over two columns: its title, then theirs; a head over one: only the last of the three.
    upper, lower = [], []
    for title, first, second in heads:
        upper += [title, ""] if first else [""]
        lower += [first, second] if first else [second]
    columns = list(zip(lower, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return [
        _titles(upper, widths),
        *(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (lower, *rows)
        ),
    ]


def _titles(titles: Sequence[str], widths: Sequence[int]) -> str:
    line, end = "", 0
    for i, (title, width) in enumerate(zip(titles, widths, strict=True)):
        end += width + (2 if i else 0)
        if title:
            # Right-aligned over its two columns.
            line = line.ljust(end + 2 + widths[i + 1] - len(title)) + title
    return line


def _onsets(title: str, units: Sequence[UnitSummary], curves: Sequence[OnsetCurve]) -> list[str]:
    curve = curves[0]
    if not curve.onsets:
        return [f"no {title}: nothing to show around them"]
    step = max(1, round(_SHOWN_OFFSETS_SECONDS / (curve.seconds[1] - curve.seconds[0])))
    middle = len(curve.seconds) // 2
    shown = range(middle % step, len(curve.seconds), step)
    heads = [("", "", ""), *(("", "", f"{1000 * curve.seconds[k]:+.0f}") for k in shown)]
    lines = [f"mean update gate around {curve.onsets} {title} (ms after the onset)"]
    for which, values in (
        ("all units", [curve.mean for curve in curves]),
        (LASTING, [curve.lasting for curve in curves]),
    ):
        rows = [
            [part.name, *(_fixed(float(row[k])) for k in shown)]
            for part, row in zip(units, values, strict=True)
        ]
        lines += [f"{which}:", *_table(heads, rows)[1:]]
    return lines


def _percentile(values: Values, percent: float) -> float:
    # Half-lives may be infinite, between which nothing can be interpolated.
    return float(np.percentile(values, percent, method="nearest"))


def _fixed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def summary_figures(summary: Summary) -> dict[str, Any]:
    """Give a summary as plain values for JSON; what is not known is None.

    Args:
        summary: what to write.
    """
    return {
        "layers": [_unit_figures(units) for units in summary.units],
        "recordings": summary.recordings,
        "audio_seconds": summary.audio_seconds,
        "speech_seconds": summary.speech_seconds,
        "frame_seconds": summary.frame_seconds,
        "words": summary.words,
        "word_times": MODELS_OWN_TIMES,
        "speech": SPEECH_BY_LOUDNESS,
        "left_out": [asdict(item) for item in summary.left_out],
        "warnings": list(summary.warnings),
        "model": summary.model,
        "manifest": summary.manifest,
        "date": summary.date,
        "versions": {
            "asr": __version__,
            "python": platform.python_version(),
            "torch": version("torch"),
        },
    }


def _unit_figures(units: UnitSummary) -> dict[str, Any]:
    lives = units.half_lives
    return {
        "layer": units.layer,
        "direction": units.direction,
        "units": units.units,
        "update": {
            "speech": _number(units.update_speech),
            "silence": _number(units.update_silence),
        },
        "reset": {
            "speech": _number(units.reset_speech),
            "silence": _number(units.reset_silence),
        },
        "state_moves": {
            "speech": _number(units.move_speech),
            "silence": _number(units.move_silence),
        },
        "half_life_seconds": {
            name: {
                "median": _number(_percentile(values, 50)),
                "percentile_90": _number(_percentile(values, 90)),
            }
            for name, values in (
                ("all", lives.all),
                ("speech", lives.speech),
                ("silence", lives.silence),
            )
        },
        "half_life_seconds_of_units": _numbers(lives.all),
        "dead": units.dead,
        "update_saturated": units.update_saturated,
        "reset_saturated": units.reset_saturated,
        "update_extreme_share": _number(units.update_extreme),
        "reset_extreme_share": _number(units.reset_extreme),
        "word_onsets": _curve_figures(units.words),
        "speech_after_pause": _curve_figures(units.starts),
    }


def _curve_figures(curve: OnsetCurve) -> dict[str, Any]:
    return {
        "onsets": curve.onsets,
        "seconds": _numbers(curve.seconds),
        "update_mean": _numbers(curve.mean),
        "update_mean_of_lasting_units": _numbers(curve.lasting),
        "update_percentile_10": _numbers(curve.low),
        "update_percentile_90": _numbers(curve.high),
    }


def _numbers(values: Values) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    # JSON knows neither infinity nor NaN.
    return round(value, 6) if math.isfinite(value) else None
