"""The results of looking inside, written into a folder."""

import json
from glob import escape
from pathlib import Path

from tqdm import tqdm

from asr.files import atomic_write
from asr.inspection.chart import draw_summary
from asr.inspection.drawing import draw_trace, picture_count
from asr.inspection.page import build_page
from asr.inspection.report import summary_figures
from asr.inspection.summary import Summary
from asr.inspection.trace import Trace, UnitTrace

SUMMARY = "summary.json"
CHART = "summary.png"


def write_trace(
    folder: Path | str, trace: Trace, chosen: UnitTrace, *, progress: bool = False
) -> list[Path]:
    """Write the pictures of one layer and direction, and the page of all.

    The files carry the recording's name: ``NAME.layer3-forward.png`` (with ``.part01`` and so on
    where there are several) and ``NAME.html``. The page is removed first and written last, so that
    where it stands the pictures are whole; other files of the folder stay.

    Args:
        folder: where to write; made if needed.
        trace: the recording.
        chosen: the layer and direction of the pictures.
        progress: draw a progress bar on stderr where there are several pictures.

    Returns:
        The files, the page first.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    stem = Path(trace.path).stem
    page = target / f"{stem}.html"
    page.unlink(missing_ok=True)
    base = f"{stem}.layer{chosen.layer}-{chosen.direction}"
    # An earlier recording of this name may have had more parts.
    for old in target.glob(f"{escape(base)}.part*.png"):
        old.unlink()
    count = picture_count(trace)
    written = []
    bar = tqdm(
        draw_trace(trace, chosen),
        "drawing",
        count,
        unit="picture",
        disable=not progress or count < 2,
    )
    for number, png in enumerate(bar, start=1):
        part = "" if count == 1 else f".part{number:02d}"
        written.append(target / f"{base}{part}.png")
        with atomic_write(written[-1], "wb") as stream:
            stream.write(png)
    with atomic_write(page) as stream:
        stream.write(build_page(trace, chosen))
    return [page, *written]


def write_summary(folder: Path | str, summary: Summary) -> list[Path]:
    """Write a summary's chart and figures: ``summary.png`` and, last, ``summary.json``.

    Args:
        folder: where to write; made if needed, other files of it stay.
        summary: what to write.

    Returns:
        The files.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / SUMMARY).unlink(missing_ok=True)
    with atomic_write(target / CHART, "wb") as stream:
        stream.write(draw_summary(summary))
    with atomic_write(target / SUMMARY) as stream:
        json.dump(summary_figures(summary), stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
    return [target / CHART, target / SUMMARY]
