"""A page shows a score in a browser: its figures, its plots and every utterance's alignment."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from asr import __version__
from asr.scoring.alignment import Alignment
from asr.scoring.plots import (
    draw_calibration,
    draw_calibration_table,
    draw_groups,
    draw_mixture,
    format_rate,
    narrowing_button,
)
from asr.scoring.report import format_counts
from asr.scoring.reported import Reported
from asr.scoring.score import MINIMUM, SCLITE

_METHODS = {MINIMUM: "with the fewest errors", SCLITE: "as NIST's sclite does"}


def build_page(reported: Reported, folder: Path) -> str:
    """Write the page: one file that needs nothing else, no network either.

    Recordings are played from where they lie, if they do: by a relative address within the
    folder's own parent, so that both can be moved together, else by a file address.

    Args:
        reported: what to show.
        folder: where the page will lie.

    Returns:
        HTML. Its own script and style are the only ones that a browser runs in it.
    """
    style, script = _resource("page.css"), _resource("page.js")
    sections = list(_sections(reported))
    return Template(_resource("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        title=html.escape(reported.title),
        kaldi=html.escape(format_counts("WER", reported.score.words)),
        tiles=_tiles(reported),
        mixture=draw_mixture(reported.score.words),
        about=_about(reported),
        notes=_notes(reported.notes),
        sections="".join(
            f'<a href="#{key}">{html.escape(name)}</a>'
            for key, name in (
                *((key, name) for key, name, _ in sections),
                ("utterances", "Utterances"),
            )
        ),
        figures="\n".join(
            f'<section id="{key}"><h2>{html.escape(name)}</h2>{content}</section>'
            for key, name, content in sections
        ),
        data=encode_json(_data(reported, folder)),
    )


def encode_json(value: Any) -> str:
    """Write JSON that ends no script that it stands in, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _resource(name: str) -> str:
    return files("asr.scoring").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_fingerprint(style)}; script-src {_fingerprint(script)}; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _fingerprint(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _tiles(reported: Reported) -> str:
    score, interval = reported.score, reported.interval
    between = ""
    if interval is not None and math.isfinite(interval.high):
        between = (
            f"<span>{100 * interval.level:g} % interval {100 * interval.low:.2f} to "
            f"{100 * interval.high:.2f}</span>"
        )
    utterances = len(score.utterances)
    tiles = (
        (format_rate(score.words.rate), "word error rate", between),
        (format_rate(score.characters.rate), "character error rate", ""),
        (
            format_rate(score.sentence_error_rate),
            "sentence error rate",
            f"<span>{score.sentence_errors:,} of {utterances:,} with an error</span>",
        ),
        (
            f"{score.words.words:,}",
            f"words said in {utterances:,} utterances",
            _missing(len(score.missing)),
        ),
    )
    return (
        '<ul class="tiles">'
        + "".join(
            f"<li><b>{value}</b><span>{name}</span>{more}</li>" for value, name, more in tiles
        )
        + "</ul>"
    )


def _missing(number: int) -> str:
    return f"<span>{number:,} without a hypothesis</span>" if number else ""


def _about(reported: Reported) -> str:
    interval = reported.interval
    methods = {_METHODS.get(each.method, each.method) for each in reported.score.utterances}
    entries = [("normaliser", reported.normalizer), ("alignment", ", ".join(sorted(methods)))]
    if interval is not None:
        entries.append(("interval", interval.method))
    seconds = sum(reported.details.durations.values())
    if seconds:
        entries.append(("audio", f"{seconds / 3600:.2f} h"))
    entries.append(("written by", f"asr {__version__}"))
    return "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in entries
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes" aria-label="Notes" tabindex="0">{items}</ul>'


def _sections(reported: Reported) -> Iterator[tuple[str, str, str]]:
    plots = [draw_groups(kind, groups) for kind, groups in reported.groups.items() if groups]
    if plots:
        yield "groups", "Where the errors are", f'<div class="grid">{"".join(plots)}</div>'
    calibration = reported.calibration
    if calibration is not None:
        entropy = calibration.normalized_cross_entropy
        said = (
            f"Expected calibration error {calibration.expected_error:.4f}, normalised cross "
            f"entropy {'undefined' if entropy is None else f'{entropy:.3f}'}, over "
            f"{calibration.words:,} recognised words."
        )
        if calibration.left_out:
            said += (
                f" {calibration.left_out:,} utterances are left out, whose confidences are not "
                "one a word within 0 and 1."
            )
        yield (
            "calibration",
            "Calibration of confidences",
            f'<p class="note">{said}</p><div class="grid">{draw_calibration(calibration)}'
            f"{draw_calibration_table(calibration)}</div>",
        )
    yield (
        "confusions",
        "Most frequent errors",
        f'<div class="grid thirds">{_confusions(reported)}</div>',
    )


def _confusions(reported: Reported) -> str:
    confusions = reported.confusions
    tables: tuple[tuple[str, list[tuple[str | None, str | None, int]]], ...] = (
        ("Substitutions", list(confusions.substitutions)),
        ("Deletions", [(word, None, number) for word, number in confusions.deletions]),
        ("Insertions", [(None, word, number) for word, number in confusions.insertions]),
    )
    return "".join(_confusion_table(title, entries) for title, entries in tables)


def _confusion_table(title: str, entries: Sequence[tuple[str | None, str | None, int]]) -> str:
    if not entries:
        return f'<div><h3>{title}</h3><p class="note">None.</p></div>'
    rows = []
    for said, recognised, number in entries:
        label = " → ".join(word for word in (said, recognised) if word is not None)
        only = json.dumps([said, recognised], ensure_ascii=False)
        rows.append(
            f'<tr><td class="number">{number:,}</td>'
            f'<td class="words">{narrowing_button("error", only, label)}</td></tr>'
        )
    key = title.lower()
    return (
        f'<div><h3 id="{key}">{title}</h3><div class="scroll" role="region" '
        f'aria-labelledby="{key}" tabindex="0"><table><thead><tr><th scope="col" class="number">'
        f'times</th><th scope="col">{"said → recognised" if key == "substitutions" else "word"}'
        f"</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div></div>"
    )


def _data(reported: Reported, folder: Path) -> dict[str, Any]:
    details = reported.details
    speakers, parts = _Numbers(details.speakers), _Numbers(details.parts)
    utterances = []
    for utterance, alignment in zip(reported.score.utterances, reported.alignments, strict=True):
        identity, words = utterance.id, utterance.words
        entry: dict[str, Any] = {
            "i": identity,
            "n": [words.substitutions, words.deletions, words.insertions, words.correct],
            "a": _steps(alignment),
        }
        known = (
            ("s", speakers.number(identity)),
            ("p", parts.number(identity)),
            ("d", details.durations.get(identity)),
            ("u", _address(details.audio.get(identity), folder)),
            ("m", 1 if utterance.missing else None),
        )
        utterances.append(entry | {key: value for key, value in known if value is not None})
    return {"speakers": speakers.names, "parts": parts.names, "utterances": utterances}


class _Numbers:
    """Numbers names in the order of their first use, so that each is written once."""

    def __init__(self, name_of: Mapping[str, str]) -> None:
        self._name_of = name_of
        self._number_of: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        return list(self._number_of)

    def number(self, identity: str) -> int | None:
        name = self._name_of.get(identity)
        return self._number_of.setdefault(name, len(self._number_of)) if name else None


def _steps(alignment: Alignment) -> list[str | list[str | None]]:
    """Join runs of correct words; an error is the pair of what was said and recognised."""
    steps: list[str | list[str | None]] = []
    for kind, said, recognised in alignment.operations:
        if kind != "C":
            steps.append([said, recognised])
        elif steps and isinstance(steps[-1], str):
            steps[-1] += f" {said}"
        else:
            steps.append(str(said))
    return steps


def _address(audio: str | None, folder: Path) -> str | None:
    if not audio:
        return None
    path, home = Path(audio).resolve(), folder.resolve()
    if not path.is_file():
        return None
    if path.is_relative_to(home):
        return quote(str(path.relative_to(home)))
    if path.is_relative_to(home.parent):
        return quote(f"../{path.relative_to(home.parent)}")
    return path.as_uri()
