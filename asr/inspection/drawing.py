"""A drawing shows the gates of one layer under the sound that moved them, as a PNG."""

import io
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import UsageError
from asr.inspection.loudness import stretches
from asr.inspection.posteriors import find_peaks, shown_tokens
from asr.inspection.trace import Trace, UnitTrace
from asr.inspection.words import TimedWord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A longer recording becomes several pictures.
PICTURE_SECONDS = 20.0
DPI = 110
TOKEN_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5195", "#b8860b", "#c1272d")
UPDATE_COLOR, RESET_COLOR, BLANK_COLOR = "#31688e", "#b5523b", "#8a8a8a"
NOTE = (
    "Word times are the model's own (best CTC path), not true times. Grey: silence by loudness. "
    "Units are sorted by the half-life that their update gate implies."
)
LEGEND = "Update gate: dark keeps the old state, bright takes the new. Reset gate: dark hides it."
_INCHES_A_SECOND, _LEAST_INCHES = 1.7, 7.5
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 0.95, 0.85, 0.63, 0.75, 0.14
_WORD_INCHES, _WORD_ROWS = 0.17, 3
_SOUND_INCHES, _CTC_INCHES, _MEAN_INCHES = 1.35, 1.25, 0.95
# A unit's row is a whole number of pixels, so that none is lost; few units get about this many.
_ROWS_PIXELS = 200
_HERTZ = (250, 500, 1000, 2000, 4000)


def check_drawing() -> None:
    """Make sure that pictures can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError(
            "drawing needs matplotlib, which is not installed: pip install matplotlib (the extra "
            "'plots')"
        )


def draw_trace(trace: Trace, units: UnitTrace) -> Iterator[bytes]:
    """Draw one layer and direction over a recording.

    Args:
        trace: the recording.
        units: the layer and direction.

    Yields:
        PNG files; one for up to 20 s, several of equal length for more.
    """
    count = max(1, math.ceil(trace.duration_seconds / PICTURE_SECONDS))
    length = trace.duration_seconds / count
    for part in range(count):
        yield _to_png(_draw(trace, units, part * length, (part + 1) * length))


def picture_count(trace: Trace) -> int:
    """Count the pictures that ``draw_trace`` makes."""
    return max(1, math.ceil(trace.duration_seconds / PICTURE_SECONDS))


def _to_png(figure: "Figure") -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def _draw(trace: Trace, units: UnitTrace, start: float, stop: float) -> "Figure":
    width = max(_LEAST_INCHES, _INCHES_A_SECOND * (stop - start))
    words = _place_words(trace, start, stop, width)
    top = _TOP + _WORD_INCHES * (1 + max((row for _, row in words), default=0))
    figure, axes = _panels(width, top, units.update.shape[1])
    seen = _frames_within(trace, start, stop)
    _draw_sound(axes["sound"], trace, start, stop)
    _draw_posteriors(axes["ctc"], trace, seen)
    _draw_means(axes["mean"], trace, units, seen)
    order = np.argsort(units.half_lives(), kind="stable")
    for name, values, palette, limits in (
        ("update", units.update, "viridis", (0, 1)),
        ("reset", units.reset, "viridis", (0, 1)),
        ("state", units.state, "RdBu_r", (-1, 1)),
    ):
        rows = values[seen][:, order].T
        edges = (trace.seconds(seen.start - 0.5), trace.seconds(seen.stop - 0.5))
        image = axes[name].imshow(
            rows,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            cmap=palette,
            vmin=limits[0],
            vmax=limits[1],
            extent=(*edges, 0, len(order)),
        )
        _add_colorbar(figure, axes[name], image, limits)
        _label_units(axes[name], units.half_lives()[order] * trace.frame_seconds)
    for name, label in (
        ("sound", "kHz"),
        ("ctc", "CTC\nposterior"),
        ("mean", "mean\nof gates"),
        ("update", "update gate\nhalf-life (s)"),
        ("reset", "reset gate\nhalf-life (s)"),
        ("state", "state\nhalf-life (s)"),
    ):
        axes[name].set_ylabel(label, fontsize=9)
    _mark(axes, trace, words)
    axes["sound"].set_xlim(start, stop)
    _title(figure, trace, units, width, (start, stop))
    return figure


def _panels(width: float, above: float, units: int) -> "tuple[Figure, dict[str, Axes]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = rows_pixels(units) / DPI
    heights = {"sound": _SOUND_INCHES, "ctc": _CTC_INCHES, "mean": _MEAN_INCHES}
    heights |= dict.fromkeys(("update", "reset", "state"), rows)
    total = sum(heights.values()) + _GAP * (len(heights) - 1) + above + _BOTTOM
    full = _LEFT + width + _RIGHT
    figure = Figure(figsize=(full, total))
    FigureCanvasAgg(figure)
    axes: dict[str, Axes] = {}
    top = total - above
    for name, height in heights.items():
        place = (_LEFT / full, (top - height) / total, width / full, height / total)
        axes[name] = figure.add_axes(place, sharex=axes.get("sound"))
        axes[name].tick_params(labelsize=8, length=3, labelbottom=name == "state")
        top -= height + _GAP
    return figure, axes


def rows_pixels(units: int) -> int:
    """Give the height of an image of so many units in pixels: a whole number for each."""
    return units * max(1, round(_ROWS_PIXELS / units))


def _frames_within(trace: Trace, start: float, stop: float) -> slice:
    """Find the encoder frames that show between two times."""
    first = math.floor((start - trace.seconds(0)) / trace.frame_seconds)
    last = math.ceil((stop - trace.seconds(0)) / trace.frame_seconds) + 1
    return slice(max(0, first), min(len(trace.log_probs), last))


def _draw_sound(axes: "Axes", trace: Trace, start: float, stop: float) -> None:
    low, high = np.percentile(trace.log_mel, [2, 99.8])
    seen = slice(
        max(0, math.floor(start / trace.hop_seconds)), math.ceil(stop / trace.hop_seconds) + 1
    )
    rows = trace.log_mel[seen].T
    edges = (seen.start * trace.hop_seconds, (seen.start + rows.shape[1]) * trace.hop_seconds)
    bands = len(trace.mel_hertz)
    axes.imshow(
        rows,
        aspect="auto",
        origin="lower",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-3),
        extent=(*edges, 0, bands),
    )
    ticks = [hertz for hertz in _HERTZ if hertz < trace.mel_hertz[-1]]
    places = np.interp(ticks, trace.mel_hertz, np.arange(bands) + 0.5)
    axes.set_yticks(list(places), [f"{hertz / 1000:g}" for hertz in ticks])


def _draw_posteriors(axes: "Axes", trace: Trace, seen: slice) -> None:
    chances = np.exp(trace.log_probs[seen])
    times = _times(trace, seen)
    colors = token_colors(trace)
    axes.plot(times, chances[:, 0], color=BLANK_COLOR, linewidth=0.9, linestyle=(0, (4, 2)))
    for token, color in colors.items():
        row = chances[:, token]
        if row.max(initial=0) > 0.02:
            axes.fill_between(times, row, color=color, alpha=0.25, linewidth=0)
            axes.plot(times, row, color=color, linewidth=1.1)
    for peak in find_peaks(np.exp(trace.log_probs)):
        if seen.start <= peak.frame < seen.stop:
            axes.annotate(
                trace.tokens[peak.token].strip() or "␣",
                (trace.seconds(peak.frame), min(1.0, peak.probability)),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=colors.get(peak.token, "black"),
                parse_math=False,
                annotation_clip=True,
            )
    axes.set_ylim(0, 1.28)
    axes.set_yticks([0, 0.5, 1])
    _legend(axes, [("blank", BLANK_COLOR, (0, (4, 2)))])


def token_colors(trace: Trace) -> dict[int, str]:
    """Choose a colour for every token that is drawn; neighbours in time differ."""
    tokens = shown_tokens(np.exp(trace.log_probs))
    return {token: TOKEN_COLORS[i % len(TOKEN_COLORS)] for i, token in enumerate(tokens)}


def _draw_means(axes: "Axes", trace: Trace, units: UnitTrace, seen: slice) -> None:
    times = _times(trace, seen)
    for values, color in ((units.update, UPDATE_COLOR), (units.reset, RESET_COLOR)):
        axes.plot(times, values[seen].mean(axis=1), color=color, linewidth=1.4)
        axes.axhline(float(values.mean()), color=color, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    _legend(axes, [("update", UPDATE_COLOR, "-"), ("reset", RESET_COLOR, "-")])


def _legend(axes: "Axes", entries: Sequence[tuple[str, str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, linestyle=style) for _, color, style in entries]
    axes.legend(
        handles,
        [name for name, _, _ in entries],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=7.5,
        frameon=False,
        handlelength=1.3,
        borderaxespad=0.2,
    )


def _times(trace: Trace, seen: slice) -> NDArray[np.float64]:
    times: NDArray[np.float64] = trace.seconds(0) + trace.frame_seconds * np.arange(
        seen.start, seen.stop
    )
    return times


def _add_colorbar(figure: "Figure", axes: "Axes", image: Any, limits: tuple[float, float]) -> None:
    box = axes.get_position()
    full = figure.get_size_inches()[0]
    place = (box.x1 + 0.1 / full, box.y0 + 0.1 * box.height, 0.11 / full, 0.8 * box.height)
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.set_ticks([limits[0], sum(limits) / 2, limits[1]])
    bar.ax.tick_params(labelsize=7.5, length=2)


def _label_units(axes: "Axes", half_lives: NDArray[np.float64]) -> None:
    places = [round(share * (len(half_lives) - 1)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    axes.set_yticks(
        [place + 0.5 for place in places], [format_seconds(half_lives[place]) for place in places]
    )


def format_seconds(seconds: float) -> str:
    """Write a time with two digits that count."""
    if not math.isfinite(seconds) or seconds >= 100:
        return ">100"
    return f"{seconds:.{max(0, 1 - math.floor(math.log10(seconds)))}f}"


def _place_words(
    trace: Trace, start: float, stop: float, width: float
) -> list[tuple[TimedWord, int]]:
    """Give the words between two times, each with the lowest row in which there is room for it."""
    ends = [-math.inf] * _WORD_ROWS
    placed = []
    for word in trace.words:
        time = trace.seconds(word.first)
        if start <= time < stop:
            row = next((i for i, end in enumerate(ends) if end <= time), int(np.argmin(ends)))
            ends[row] = time + (stop - start) / width * (0.095 * len(word.text) + 0.1)
            placed.append((word, row))
    return placed


def _mark(axes: "dict[str, Axes]", trace: Trace, words: Sequence[tuple[TimedWord, int]]) -> None:
    """Mark silence and words over all panels."""
    for name in ("ctc", "mean"):
        for first, end in stretches(~trace.speech):
            edges = trace.seconds(first - 0.5), trace.seconds(end - 0.5)
            axes[name].axvspan(*edges, color="black", alpha=0.09, linewidth=0)
    dark = ("sound", "update", "reset")
    for word, row in words:
        time = trace.seconds(word.first)
        for name, panel in axes.items():
            color = "white" if name in dark else "#333333"
            panel.axvline(time, color=color, linewidth=0.7, alpha=0.7)
        axes["sound"].annotate(
            word.text,
            (time, 1),
            (0, 3 + 72 * _WORD_INCHES * row),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
            ha="left",
            parse_math=False,
        )


def _title(
    figure: "Figure", trace: Trace, units: UnitTrace, width: float, limits: tuple[float, float]
) -> None:
    full, total = figure.get_size_inches()
    part = "" if picture_count(trace) == 1 else f", {limits[0]:.1f} to {limits[1]:.1f} s"
    reads = ", reads right to left" if units.direction == "backward" else ""
    figure.text(
        _LEFT / full,
        1 - 0.14 / total,
        f"{Path(trace.path).name}{part}: {units.name}, {units.update.shape[1]} units{reads}",
        fontsize=11,
        va="top",
        parse_math=False,
    )
    figure.text(_LEFT / full, 1 - 0.36 / total, LEGEND, fontsize=8, va="top", color="#555555")
    figure.text((_LEFT + width / 2) / full, 0.36 / total, "seconds", fontsize=9, ha="center")
    figure.text(_LEFT / full, 0.12 / total, NOTE, fontsize=7.5, color="#555555")
