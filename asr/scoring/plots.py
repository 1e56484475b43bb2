"""Plots of a report, drawn as SVG in percent of their width, so that they fit any screen."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr.scoring.alignment import ErrorCounts
from asr.scoring.calibration import Calibration

if TYPE_CHECKING:
    from asr.scoring.breakdown import Group

# Kinds that a click can narrow the list of utterances to.
_NARROWING = ("speaker", "part")
_SIDE = 300
_MARGIN = 46


def draw_mixture(words: ErrorCounts) -> str:
    """Draw what became of all words as one bar, with its figures below.

    Args:
        words: what to draw.

    Returns:
        HTML.
    """
    kinds = (
        ("c", "correct", words.correct),
        ("s", "substituted", words.substitutions),
        ("d", "deleted", words.deletions),
        ("i", "inserted", words.insertions),
    )
    whole = words.words + words.insertions
    keys = "".join(
        f'<li><svg class="key" aria-hidden="true"><rect class="fill-{kind}" width="100%" '
        f'height="100%"/></svg>{number:,} {name}</li>'
        for kind, name, number in kinds
    )
    bar = _bar([(kind, number) for kind, _, number in kinds], whole, 16)
    return f'<div class="mixture">{bar}<ul>{keys}</ul></div>'


def draw_groups(kind: str, groups: Sequence["Group"]) -> str:
    """Draw the word error rate of groups as a table with a bar in each row.

    Args:
        kind: what was grouped by, such as ``speaker``.
        groups: the rows; speakers are shown worst first, others in this order.

    Returns:
        HTML; the bars are of one scale, and split into substitutions, deletions and insertions.
    """
    if kind == "speaker":
        groups = sorted(groups, key=lambda group: -group.words.rate)
    highest = max((g.words.rate for g in groups if math.isfinite(g.words.rate)), default=0.0)
    rows = "".join(_group_row(kind, group, highest) for group in groups)
    name = html.escape(kind)
    return (
        f'<div><h3 id="by-{name}">Word error rate by {name}</h3>'
        f'<div class="scroll" role="region" aria-labelledby="by-{name}" tabindex="0"><table>'
        f'<thead><tr><th scope="col">{name}</th><th scope="col"><span class="hidden">bar</span>'
        '</th><th scope="col" class="number">WER</th><th scope="col" class="number">errors / words'
        '</th><th scope="col" class="number extra">utterances</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _group_row(kind: str, group: "Group", highest: float) -> str:
    name, words = html.escape(group.name), group.words
    if kind in _NARROWING:
        name = narrowing_button(kind, group.name, group.name)
    bar = _bar(
        [("s", words.substitutions), ("d", words.deletions), ("i", words.insertions)],
        highest * words.words,
        14,
    )
    return (
        f'<tr><th scope="row">{name}</th><td class="plot">{bar}</td>'
        f'<td class="number">{format_rate(words.rate)}</td>'
        f'<td class="number">{words.errors:,} / {words.words:,}</td>'
        f'<td class="number extra">{group.utterances:,}</td></tr>'
    )


def _bar(parts: Sequence[tuple[str, int]], whole: float, height: int) -> str:
    pieces, start = [], 0.0
    for kind, number in parts:
        width = 100 * number / whole if whole else 0.0
        if number and whole:
            pieces.append(
                f'<rect class="fill-{kind}" x="{start:.3f}%" width="{width:.3f}%" height="100%"/>'
            )
        start += width
    drawn = "".join(pieces)
    return f'<svg class="bar" width="100%" height="{height}" aria-hidden="true">{drawn}</svg>'


def narrowing_button(by: str, only: str, label: str) -> str:
    """Write a button that narrows the list of utterances.

    Args:
        by: what to narrow by: ``speaker``, ``part`` or ``error``.
        only: the speaker, the part, or the error as a JSON pair of said and recognised.
        label: the button's text.

    Returns:
        HTML.
    """
    return (
        f'<button type="button" class="link" data-by="{by}" data-only="{html.escape(only)}">'
        f"{html.escape(label)}</button>"
    )


def format_rate(rate: float) -> str:
    """Write a rate in percent, such as ``5.12 %``; ∞ where nothing was said."""
    return f"{100 * rate:.2f} %" if math.isfinite(rate) else "∞"


def draw_calibration(calibration: Calibration) -> str:
    """Draw the share of correct words over their confidence, which lies on a line when honest.

    Args:
        calibration: what to draw.

    Returns:
        HTML; the area of a disc is the number of words.
    """
    most = max(each.words for each in calibration.bins)
    shapes = [
        f'<rect class="frame" x="{_MARGIN}" y="0" width="{_SIDE}" height="{_SIDE}"/>',
        f'<line class="ideal" x1="{_MARGIN}" y1="{_SIDE}" x2="{_MARGIN + _SIDE}" y2="0"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        shapes += [
            f'<text x="{_x(share)}" y="{_SIDE + 16}" text-anchor="middle">{share:g}</text>',
            f'<text x="{_MARGIN - 6}" y="{_y(share) + 4}" text-anchor="end">{share:g}</text>',
        ]
    for each in calibration.bins:
        x, y = _x(each.confidence), _y(each.correct / each.words)
        shapes += [
            f'<line class="gap" x1="{x}" y1="{_y(each.confidence)}" x2="{x}" y2="{y}"/>',
            f'<circle cx="{x}" cy="{y}" r="{3 + 9 * math.sqrt(each.words / most):.1f}"><title>'
            f"{each.words:,} words of confidence {each.confidence:.3f}, "
            f"{each.correct / each.words:.3f} correct</title></circle>",
        ]
    middle = _MARGIN + _SIDE // 2
    shapes += [
        f'<text x="{middle}" y="{_SIDE + 34}" text-anchor="middle">confidence</text>',
        f'<text x="0" y="0" text-anchor="middle" transform="translate(10 {_SIDE // 2}) '
        'rotate(-90)">share of correct words</text>',
    ]
    return (
        '<figure><svg class="calibration" role="img" aria-label="Share of correct words over '
        f'confidence; the table beside it has the figures" viewBox="0 -14 {_MARGIN + _SIDE + 14} '
        f'{_SIDE + 54}">{"".join(shapes)}</svg></figure>'
    )


def _x(share: float) -> float:
    return round(_MARGIN + share * _SIDE, 1)


def _y(share: float) -> float:
    return round((1 - share) * _SIDE, 1)


def draw_calibration_table(calibration: Calibration) -> str:
    """Write a calibration's bins as a table.

    Args:
        calibration: what to write.

    Returns:
        HTML.
    """
    rows = "".join(
        f'<tr><th scope="row">{each.low:.1f}-{each.high:.1f}</th>'
        f'<td class="number">{each.confidence:.3f}</td>'
        f'<td class="number">{each.correct / each.words:.3f}</td>'
        f'<td class="number">{each.words:,}</td></tr>'
        for each in calibration.bins
    )
    return (
        '<table><thead><tr><th scope="col">confidence</th><th scope="col" class="number">mean</th>'
        '<th scope="col" class="number">correct</th><th scope="col" class="number">words</th></tr>'
        f"</thead><tbody>{rows}</tbody></table>"
    )
