"""A chart shows a summary: how open the gates are, what they remember, what onsets do to them."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asr.inspection.report import MODELS_OWN_TIMES, SPEECH_BY_LOUDNESS
from asr.inspection.summary import OnsetCurve, Summary, UnitSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 110
_SPEECH, _SILENCE = "#31688e", "#b0b8bf"
_UPDATE, _RESET, _DEAD = "#31688e", "#b5523b", "#444444"
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_LEAST_RANGE = 0.15
_DASHES = {"forward": "-", "backward": (0, (4, 2))}


def draw_summary(summary: Summary) -> bytes:
    """Draw a summary.

    Args:
        summary: what to draw.

    Returns:
        A PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    units = summary.units
    figure = Figure(figsize=(max(20.0, 1.4 * len(units) + 12), 9.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 4)
    _draw_openness(panels[0, 0], units, "update")
    _draw_openness(panels[0, 1], units, "reset")
    _draw_half_lives(panels[0, 2], units, summary.frame_seconds)
    _draw_saturation(panels[0, 3], units)
    words, starts = [part.words for part in units], [part.starts for part in units]
    for column, (curves, title, lasting) in enumerate(
        (
            (words, "word onsets (the model's times)", False),
            (words, "word onsets: long memories", True),
            (starts, "starts after a pause (by loudness)", False),
            (starts, "starts after a pause: long memories", True),
        )
    ):
        _draw_onsets(panels[1, column], units, curves, title, lasting)
    _share_range(panels[1, 0], panels[1, 2])
    _share_range(panels[1, 1], panels[1, 3])
    figure.suptitle(
        f"{summary.recordings} recordings, {summary.audio_seconds / 60:.1f} min, {summary.words} "
        f"words; an encoder frame every {1000 * summary.frame_seconds:g} ms",
        fontsize=12,
    )
    figure.supxlabel(
        f"{MODELS_OWN_TIMES[0].upper()}{MODELS_OWN_TIMES[1:]}; {SPEECH_BY_LOUDNESS}.",
        fontsize=8,
        color="#555555",
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def _draw_openness(axes: "Axes", units: Sequence[UnitSummary], gate: str) -> None:
    places = np.arange(len(units))
    for shift, part, color in ((-0.2, "speech", _SPEECH), (0.2, "silence", _SILENCE)):
        values = [getattr(one, f"{gate}_{part}") for one in units]
        bars = axes.bar(places + shift, values, 0.38, color=color, label=part)
        axes.bar_label(bars, fmt="%.2f", fontsize=7.5, padding=2)
    axes.set_ylim(0, 1)
    _name_layers(axes, units)
    _finish(axes, f"mean {gate} gate", f"{gate} gate")
    axes.legend(fontsize=8.5, frameon=False, loc="upper right", ncols=2)


def _draw_half_lives(axes: "Axes", units: Sequence[UnitSummary], frame_seconds: float) -> None:
    for part, color, style in _styles(units):
        lives = np.sort(part.half_lives.all)
        share = (np.arange(len(lives)) + 0.5) / len(lives)
        axes.plot(100 * share, lives, color=color, linestyle=style, linewidth=1.6, label=part.name)
    axes.axhline(frame_seconds, color="#999999", linewidth=0.8)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    high = min(high, 100.0)
    ticks = [tick for tick in _SECONDS if low <= tick <= high]
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0, 100)
    axes.set_xlabel("units, % (grey line: one frame, the least)", fontsize=9)
    _finish(axes, "memory span by the update gate", "half-life (s)")
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _draw_onsets(
    axes: "Axes",
    units: Sequence[UnitSummary],
    curves: Sequence[OnsetCurve],
    title: str,
    lasting: bool,
) -> None:
    label = "mean over the quarter of longest half-life" if lasting else "mean over units"
    _finish(axes, f"update gate, {curves[0].onsets} {title}", label)
    if not curves[0].onsets:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="#555555")
        return
    for (part, color, style), curve in zip(_styles(units), curves, strict=True):
        axes.plot(
            1000 * curve.seconds,
            curve.lasting if lasting else curve.mean,
            color=color,
            linestyle=style,
            linewidth=1.6,
            marker="o",
            markersize=2.5,
            label=part.name,
        )
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlim(1050 * curves[0].seconds[0], 1050 * curves[0].seconds[-1])
    axes.set_xlabel("ms after the onset", fontsize=9)


def _share_range(*panels: "Axes") -> None:
    """Give panels one vertical range, wide enough that noise does not look like a finding."""
    limits = [limit for axes in panels if axes.lines for limit in axes.get_ylim()]
    if not limits:
        return
    middle, half = (max(limits) + min(limits)) / 2, (max(limits) - min(limits)) / 2
    for axes in panels:
        axes.set_ylim(middle - max(half, _LEAST_RANGE / 2), middle + max(half, _LEAST_RANGE / 2))


def _draw_saturation(axes: "Axes", units: Sequence[UnitSummary]) -> None:
    places = np.arange(len(units))
    for shift, name, color in (
        (-0.27, "update_saturated", _UPDATE),
        (0.0, "reset_saturated", _RESET),
        (0.27, "dead", _DEAD),
    ):
        shares = [100 * getattr(part, name) / part.units for part in units]
        bars = axes.bar(
            places + shift, shares, 0.25, color=color, label=name.replace("_", " gate ")
        )
        axes.bar_label(bars, [str(getattr(part, name)) for part in units], fontsize=7.5, padding=2)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, max(5.0, 1.25 * top))
    _name_layers(axes, units)
    _finish(axes, "dead and saturated units (numbers: how many)", "% of units")
    axes.legend(fontsize=8.5, frameon=False, loc="upper left")


def _styles(units: Sequence[UnitSummary]) -> "list[tuple[UnitSummary, object, object]]":
    """Give each layer a colour of one scale and each direction a line style."""
    from matplotlib import colormaps

    layers = max(part.layer for part in units)
    scale = colormaps["viridis"](np.linspace(0.1, 0.82, layers))
    return [(part, scale[part.layer - 1], _DASHES[part.direction]) for part in units]


def _name_layers(axes: "Axes", units: Sequence[UnitSummary]) -> None:
    arrows = {"forward": "→", "backward": "←"}
    axes.set_xticks(range(len(units)), [f"{part.layer} {arrows[part.direction]}" for part in units])
    axes.set_xlabel("layer and direction", fontsize=9)


def _finish(axes: "Axes", title: str, label: str) -> None:
    axes.set_title(title, fontsize=10.5)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
