"""Time the training of an n-gram model, and measure its memory, against KenLM's lmplz.

    python tools/benchmark/lm.py [--words 2300000] [--order 4] [--lmplz PATH] [--text FILE]

The text is generated from one seed (generated_text.py) unless a file is given. Each contender runs
in a process of its own: wall-clock and processor seconds of the whole process, start-up included,
and its peak memory. The floor is what no n-gram counter in memory can do without: sorting one
64-bit number for each word and order above 1, and writing the bytes of the ARPA file.
"""

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from generated_text import generate_sentences


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: list[str]) -> Run:
    """Run a process to its end.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read().decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def floor_seconds(words: int, order: int, arpa: Path, folder: Path) -> tuple[float, float]:
    """Time a sort for each order above 1, and the writing of the ARPA file's bytes."""
    keys = np.random.default_rng(0).integers(0, 1 << 62, words, np.uint64)
    started = time.perf_counter()
    for _ in range(order - 1):
        np.sort(keys)
    sorting = time.perf_counter() - started
    content = arpa.read_bytes()
    started = time.perf_counter()
    with (folder / "copy").open("wb") as stream:
        stream.write(content)
    return sorting, time.perf_counter() - started


def contenders(args: argparse.Namespace, text: Path, folder: Path) -> dict[str, list[str]]:
    """Give each contender's command."""
    ours = [sys.executable, "-m", "asr", "lm", "train", str(text), "--order", str(args.order)]
    found = {
        "asr, file and ARPA": [*ours, "-o", f"{folder}/a.bin", "--arpa", f"{folder}/a.arpa"],
        "asr, file only": [*ours, "-o", f"{folder}/b.bin"],
        f"asr, file only, --memory {args.memory}": [
            *(*ours, "-o", f"{folder}/c.bin"), "--memory", args.memory, "--temp", str(folder),
        ],
    }  # fmt: skip
    lmplz = args.lmplz or shutil.which("lmplz")
    if lmplz:
        base = [lmplz, "-o", str(args.order), "--text", str(text), "-T", f"{folder}/t", "-S", "4G"]
        found = {"lmplz, ARPA": [*base, "--arpa", f"{folder}/l.arpa"], **found}
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=2_300_000)
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=Path, help="a text instead of the generated one")
    parser.add_argument("--lmplz", help="KenLM's program (default: the one on the path, if any)")
    parser.add_argument("--memory", default="64M", help="limit of the run in parts")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = args.text
        if text is None:
            text = folder / "text.txt"
            text.write_text("\n".join(generate_sentences(args.words)) + "\n")
        words = len(text.read_bytes().split())
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {words:,} words"
        )
        commands = contenders(args, text, folder)
        runs: dict[str, list[Run]] = {label: [] for label in commands}
        for _ in range(args.rounds):
            for label, command in commands.items():
                runs[label].append(run(command))
        report(runs)
        digests = [hashlib.sha256((folder / f"{x}.bin").read_bytes()).digest() for x in "bc"]
        print(f"in parts the file is {'the same' if digests[0] == digests[1] else 'ANOTHER ONE'}")
        sorting, writing = floor_seconds(words, args.order, folder / "a.arpa", folder)
        print(f"floor: {sorting:.2f} s of sorting, {writing:.2f} s of writing")


def report(runs: dict[str, list[Run]]) -> None:
    """Print the median of each contender and its ratio to the first."""
    base = statistics.median(each.seconds for each in next(iter(runs.values())))
    print(f"{'':34} seconds  ratio    CPU s  peak MB")
    for label, found in runs.items():
        seconds = statistics.median(each.seconds for each in found)
        cpu = statistics.median(each.cpu_seconds for each in found)
        peak = max(each.peak_bytes for each in found) / 1e6
        print(f"{label:34} {seconds:7.2f} {seconds / base:6.2f} {cpu:8.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
