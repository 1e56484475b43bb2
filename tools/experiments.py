"""What experiments came to, from their records: a picture and a table.

    python tools/experiments.py recipes/an4/experiments.jsonl --figure recipes/an4/ablation.png

A record is a line of JSON: study, group, name, change (overrides of `asr train`), seed, epochs, wer
and cer in percent (of the last epoch), and beside them commit, date, hardware, minutes; where they
are known also wer_interval and difference_interval, to the baseline (95 %, in percent). A study is
a set of runs that differ from its baseline, the runs named "baseline", in one thing each. Repeated
runs with other seeds are one row. How far those of a baseline lie apart is the noise; a study whose
baseline has one seed borrows the largest of the others.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASELINE = "baseline"
WORSE, BETTER, EVEN = "#b5523b", "#31688e", "#8a8a8a"


@dataclass(frozen=True)
class Row:
    """The runs of one setting.

    Attributes:
        group: what it is about.
        name: the setting.
        runs: a record for each seed.
    """

    group: str
    name: str
    runs: tuple[dict[str, Any], ...]

    def mean(self, key: str) -> float:
        """Mean over seeds."""
        return statistics.fmean(float(run[key]) for run in self.runs)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read all records; there has to be one."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read: {error}; expected lines of JSON") from error
    if not records:
        raise SystemExit(f"{path} is empty; expected lines of JSON")
    return records


def rows_of(records: Sequence[dict[str, Any]], study: str) -> tuple[Row, list[Row]]:
    """Give the baseline and the other rows of a study, in the order of the records."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if record["study"] == study:
            found[record["group"], record["name"]].append(record)
    rows = [Row(group, name, tuple(runs)) for (group, name), runs in found.items()]
    baselines = [row for row in rows if row.name == BASELINE]
    if len(baselines) != 1:
        raise SystemExit(f"study '{study}' has {len(baselines)} baselines; expected one")
    return baselines[0], [row for row in rows if row.name != BASELINE]


def noise(row: Row) -> float:
    """Standard deviation of a row's word error rates over seeds; 0 of a single run."""
    rates = [float(run["wer"]) for run in row.runs]
    return statistics.stdev(rates) if len(rates) > 1 else 0.0


def table(baseline: Row, rows: Sequence[Row]) -> str:
    """A study as a Markdown table."""
    lines = [
        "| | change | epochs | minutes | dev WER % | difference (95 %) | dev CER % |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in [baseline, *rows]:
        rates = [float(run["wer"]) for run in row.runs]
        each = f" ({', '.join(f'{rate:.2f}' for rate in rates)})" if len(rates) > 1 else ""
        apart = f"{row.mean('wer') - baseline.mean('wer'):+.2f}"
        if (ends := row.runs[0].get("difference_interval")) and len(rates) == 1:
            apart += f" ({ends[0]:+.2f} to {ends[1]:+.2f})"
        epochs = row.runs[0]["epochs"]
        change = " ".join(f"`{word}`" for word in row.runs[0]["change"].split()) or "none"
        lines.append(
            f"| {row.group} | {row.name}: {change} | {epochs} | {row.mean('minutes'):.1f} | "
            f"{row.mean('wer'):.2f}{each} | {'' if row is baseline else apart} | "
            f"{row.mean('cer'):.2f} |"
        )
    return "\n".join(lines)


def draw(panels: Sequence[tuple[str, Row, Sequence[Row]]], path: Path) -> None:
    """Draw how far each setting's word error rate lies from the baseline's."""
    from matplotlib.figure import Figure

    heights = [len(rows) + 2 for _, _, rows in panels]
    figure = Figure(figsize=(9, 0.24 * sum(heights) + 0.7 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    spread = max(noise(baseline) for _, baseline, _ in panels)
    for axis, (title, baseline, rows) in zip(axes, panels, strict=True):
        base = baseline.mean("wer")
        rows = sorted(rows, key=lambda row: -row.mean("wer"))
        axis.axvspan(base - 2 * spread, base + 2 * spread, color="#e8e8e8", zorder=0)
        axis.axvline(base, color=EVEN, linewidth=1)
        for place, row in enumerate(rows):
            mean = row.mean("wer")
            color = EVEN if abs(mean - base) <= 2 * spread else BETTER if mean < base else WORSE
            axis.plot([base, mean], [place, place], color=color, linewidth=2)
            axis.plot(
                [run["wer"] for run in row.runs], [place] * len(row.runs), "o", color=color, ms=4
            )
            axis.annotate(
                f"{mean:.1f}",
                (mean, place),
                (6 if mean >= base else -6, 0),
                textcoords="offset points",
                va="center",
                ha="left" if mean >= base else "right",
                fontsize=7,
            )
        axis.set_yticks(range(len(rows)), [f"{row.group}: {row.name}" for row in rows], fontsize=8)
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.margins(x=0.08)
        seeds = len(baseline.runs)
        axis.set_title(
            f"{title}\nbaseline {base:.2f} % dev WER, {seeds} seed{'s' * (seeds > 1)}; grey: two "
            f"standard deviations of seeds, {spread:.2f} %",
            fontsize=9,
            loc="left",
        )
        axis.set_xlabel("dev WER in %; a dot is a run", fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the command line; print tables and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path, help="JSON lines, one for each run")
    parser.add_argument("--study", nargs="+", help="only these (default: all)")
    parser.add_argument("--figure", type=Path, help="where to draw the picture")
    args = parser.parse_args()
    records = read_records(args.records)
    studies = args.study or dict.fromkeys(record["study"] for record in records)
    panels = [(name, *rows_of(records, name)) for name in studies]
    for name, baseline, rows in panels:
        print(f"{name}\n\n{table(baseline, rows)}\n")
    if args.figure:
        draw(panels, args.figure)


if __name__ == "__main__":
    main()
