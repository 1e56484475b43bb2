"""A page shows all layers of a trace under the sound, to scroll through in a browser."""

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from asr.inspection.drawing import (
    BLANK_COLOR,
    LEGEND,
    NOTE,
    RESET_COLOR,
    UPDATE_COLOR,
    format_seconds,
    rows_pixels,
    token_colors,
)
from asr.inspection.loudness import stretches
from asr.inspection.posteriors import find_peaks
from asr.inspection.trace import Trace, UnitTrace

Bytes = NDArray[np.uint8]

# Browsers refuse images that are wider than some ten thousand pixels.
_TILE_FRAMES = 4000
_MOST_TICKS = 600
# Less than this cannot be seen.
_LEAST_PROBABILITY = 0.02
_SOUND, _GATE, _STATE = "magma", "viridis", "RdBu_r"


def build_page(trace: Trace, chosen: UnitTrace) -> str:
    """Write the page: one file that needs nothing else, no network either.

    Args:
        trace: the recording.
        chosen: the layer and direction to show first; the others are a choice away.

    Returns:
        HTML.
    """
    template = Template(files("asr.inspection").joinpath("page.html").read_text("utf-8"))
    onsets = [(trace.seconds(word.first), word.text) for word in trace.words]
    return template.substitute(
        title=html.escape(f"{Path(trace.path).name}, looked into"),
        about=html.escape(f"{LEGEND} The backward direction reads right to left. {NOTE}"),
        seconds=f"{trace.duration_seconds:.3f}",
        options="".join(
            f'<option value="{_key(units)}"{" selected" if units is chosen else ""}>'
            f"{units.name}</option>"
            for units in trace.units
        ),
        onsets="".join(
            f'<div class="onset" style="--from:{time:.3f}"></div>' for time, _ in onsets
        ),
        rows="\n".join(_rows(trace, chosen)),
        # A word must not end the script that it stands in.
        words=json.dumps([[round(time, 3), text] for time, text in onsets]).replace("<", "\\u003c"),
    )


def _key(units: UnitTrace) -> str:
    return f"layer{units.layer}-{units.direction}"


def _rows(trace: Trace, chosen: UnitTrace) -> Iterator[str]:
    words = "".join(
        f'<span class="word" style="--from:{trace.seconds(word.first):.3f};'
        f'top:{18 * (i % 2)}px">{html.escape(word.text)}</span>'
        for i, word in enumerate(trace.words)
    )
    yield _row("<b>words</b>", 38, words, "free")
    yield _row(_sound_label(trace), 150, _sound(trace))
    yield _row(
        "<b>CTC posterior</b>" + _ticks((0.87, "0"), (0.5, ".5"), (0.14, "1")),
        140,
        _silence(trace) + _posteriors(trace),
    )
    for units in trace.units:
        yield f'<div class="units" id="{_key(units)}"{"" if units is chosen else " hidden"}>'
        yield from _unit_rows(trace, units)
        yield "</div>"
    yield _row("seconds", 18, "".join(_time_ticks(trace)), "free")


def _row(label: str, height: int, content: str, kind: str = "") -> str:
    return (
        f'<div class="row" style="height:{height}px"><div class="label">{label}</div>'
        f'<div class="track {kind}">{content}</div></div>'
    )


def _ticks(*marks: tuple[float, str]) -> str:
    """Write marks at shares of the row's height, from the top."""
    return "".join(
        f'<span class="tick" style="top:{100 * place:.1f}%">{text}</span>' for place, text in marks
    )


def _sound_label(trace: Trace) -> str:
    bands = len(trace.mel_hertz)
    marks = [
        (1 - float(np.interp(hertz, trace.mel_hertz, np.arange(bands) + 0.5)) / bands, hertz)
        for hertz in (500, 1000, 2000, 4000)
        if hertz < trace.mel_hertz[-1]
    ]
    return "<b>spectrum</b><small>kHz</small>" + _ticks(
        *((place, f"{hertz / 1000:g}") for place, hertz in marks)
    )


def _sound(trace: Trace) -> str:
    low, high = np.percentile(trace.log_mel, [2, 99.8])
    scaled = (trace.log_mel - low) / max(high - low, 1e-3)
    return _image(_to_bytes(scaled), _SOUND, 0.0, trace.hop_seconds)


def _unit_rows(trace: Trace, units: UnitTrace) -> Iterator[str]:
    means = "".join(
        _polyline(values.mean(axis=1), color)
        for values, color in ((units.update, UPDATE_COLOR), (units.reset, RESET_COLOR))
    )
    legend = (
        f'<b>mean of gates</b><small style="color:{UPDATE_COLOR}">update</small> '
        f'<small style="color:{RESET_COLOR}">reset</small>'
    )
    content = _silence(trace) + _svg(trace, means)
    yield _row(legend + _ticks((0.94, "0"), (0.5, ".5"), (0.08, "1")), 80, content)
    lives = units.half_lives()
    # The longest memory on top.
    order = np.argsort(lives, kind="stable")[::-1]
    spans = [format_seconds(trace.frame_seconds * life) for life in lives[order]]
    marks = _ticks(
        *(
            (min(0.97, max(0.03, share)), spans[round(share * (len(spans) - 1))])
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        )
    )
    height = rows_pixels(len(order))
    start = trace.seconds(-0.5)
    for name, values, palette, low in (
        ("update gate", units.update, _GATE, 0),
        ("reset gate", units.reset, _GATE, 0),
        ("state", units.state, _STATE, -1),
    ):
        cells = _to_bytes((values[:, order[::-1]] - low) / (1 - low))
        label = f"<b>{name}</b><small>half-life, s</small>{_color_bar(palette, low)}{marks}"
        yield _row(label, height, _image(cells, palette, start, trace.frame_seconds), "gate")


def _to_bytes(values: NDArray[np.floating]) -> Bytes:
    cells: Bytes = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return cells


def _image(cells: Bytes, palette: str, start: float, frame_seconds: float) -> str:
    """Write cells ``(frames, rows)``, the first row at the bottom, as images side by side."""
    tiles = []
    for first in range(0, len(cells), _TILE_FRAMES):
        tile = cells[first : first + _TILE_FRAMES]
        data = base64.b64encode(_png(tile.T[::-1], palette)).decode()
        tiles.append(
            f'<img alt="" src="data:image/png;base64,{data}" '
            f'style="{_span(start + first * frame_seconds, len(tile) * frame_seconds)}">'
        )
    return "".join(tiles)


def _span(start: float, seconds: float) -> str:
    return f"--from:{start:.4f};--for:{seconds:.4f}"


def _png(pixels: Bytes, palette: str) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.putpalette(_colors(palette).tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _colors(palette: str) -> Bytes:
    from matplotlib import colormaps

    colors: Bytes = _to_bytes(colormaps[palette](np.arange(256))[:, :3])
    return colors


def _color_bar(palette: str, low: int) -> str:
    stops = ", ".join(
        "#" + "".join(f"{part:02x}" for part in color) for color in _colors(palette)[::51]
    )
    return (
        f'<span class="bar" style="background:linear-gradient(to right, {stops})"></span>'
        f'<span class="ends"><span>{low}</span><span>1</span></span>'
    )


def _silence(trace: Trace) -> str:
    return "".join(
        f'<div class="silence" style="'
        f'{_span(trace.seconds(first - 0.5), (stop - first) * trace.frame_seconds)}"></div>'
        for first, stop in stretches(~trace.speech)
    )


def _svg(trace: Trace, content: str, above: float = 0.08, below: float = 0.06) -> str:
    """Draw over all encoder frames; x counts them, y runs from 1 (top) to 0."""
    frames = len(trace.log_probs)
    height = 1 + above + below
    return (
        f'<svg viewBox="0 {-above} {frames} {height}" preserveAspectRatio="none" '
        f'style="{_span(trace.seconds(-0.5), frames * trace.frame_seconds)}">{content}</svg>'
    )


def _polyline(values: NDArray[np.floating], color: str, dashes: str = "") -> str:
    points = _points(enumerate(values))
    return f'<polyline stroke="{color}"{dashes} points="{points}"/>'


def _points(values: Iterable[tuple[int, float]]) -> str:
    return " ".join(f"{frame + 0.5:g},{1 - value:.3f}" for frame, value in values)


def _posteriors(trace: Trace) -> str:
    chances = np.exp(trace.log_probs)
    colors = token_colors(trace)
    shapes = [_polyline(chances[:, 0], BLANK_COLOR, ' stroke-dasharray="5 3"')]
    for token, color in colors.items():
        padded = np.r_[0.0, chances[:, token], 0.0]
        for first, stop in stretches(chances[:, token] > _LEAST_PROBABILITY):
            around = range(first - 1, stop + 1)
            points = _points((frame, padded[frame + 1]) for frame in around)
            shapes.append(f'<polygon stroke="{color}" fill="{color}" points="{points}"/>')
    above, below = 0.2, 0.15
    labels = "".join(
        f'<span class="peak" style="--from:{trace.seconds(peak.frame):.3f};'
        f"top:{100 * (above + 1 - peak.probability) / (1 + above + below):.1f}%;"
        f'color:{colors.get(peak.token, "#000")}">'
        f"{html.escape(trace.tokens[peak.token].strip() or '␣')}</span>"
        for peak in find_peaks(chances)
    )
    return _svg(trace, "".join(shapes), above, below) + labels


def _time_ticks(trace: Trace) -> Iterator[str]:
    step = 0.5 if trace.duration_seconds <= _MOST_TICKS / 2 else 1.0
    for i in range(math.floor(trace.duration_seconds / step) + 1):
        yield f'<span class="time" style="--from:{i * step:g}">{i * step:g}</span>'
