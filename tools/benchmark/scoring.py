"""Time the scoring of a corpus as large as LibriSpeech's 960 hours against other programs.

    python tools/benchmark/scoring.py [--utterances 281241] [--only ours jiwer]

Simulates references and hypotheses with 5 % errors, writes them as files, and lets each contender
read and score them in a process of its own on one core. Times are processor seconds of the whole
contender after its imports, files read included; memory is the process' peak. sclite, where it is
installed, gets a tenth of the utterances and its time is multiplied by ten.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

UTTERANCES = 281_241
"""Of LibriSpeech's training sets; they hold 9.4 million words."""
VOCABULARY = 90_000
SPEAKERS = 2_338
SCLITE_SHARE = 10

Result = dict[str, float]


def make_vocabulary(draw: np.random.Generator) -> list[str]:
    """Make words, the frequent ones short, as English has them."""
    letters = np.array(list("ETAOINSHRDLCUMWFGYPBVK'"))
    lengths = np.clip(draw.poisson(1 + 0.52 * np.log(np.arange(1, VOCABULARY + 1))), 1, 18)
    words: dict[str, None] = {}
    for length in lengths:
        word = "".join(draw.choice(letters, length))
        while word in words:
            word += str(draw.choice(letters))
        words[word] = None
    return list(words)


def simulate(utterances: int) -> Iterator[tuple[str, str, str]]:
    """Draw utterances of 33.4 words on average: 3 % replaced, 1 % dropped, 1 % added.

    Yields:
        Id, reference and hypothesis.
    """
    draw = np.random.default_rng(0)
    vocabulary = make_vocabulary(draw)
    frequency = 1 / (np.arange(VOCABULARY) + 2.7)
    total = np.cumsum(frequency / frequency.sum())

    def words(number: int) -> list[str]:
        places = np.minimum(np.searchsorted(total, draw.random(number)), VOCABULARY - 1)
        return [vocabulary[place] for place in places]

    for place in range(utterances):
        said = words(int(np.clip(round(draw.normal(33.4, 12)), 1, 80)))
        recognised: list[str] = []
        for word, chance in zip(said, draw.random(len(said)), strict=True):
            if chance < 0.04:
                recognised += words(1)
            if not 0.01 <= chance < 0.05:
                recognised.append(word)
        speaker = place % SPEAKERS
        yield f"{1000 + speaker}-{place}-0000", " ".join(said), " ".join(recognised)


def write_corpus(folder: Path, utterances: int) -> None:
    """Write ``ref.txt`` and ``hyp.txt``, and a tenth of them as ``ref.trn`` and ``hyp.trn``."""
    with (
        (folder / "ref.txt").open("w") as references,
        (folder / "hyp.txt").open("w") as hypotheses,
        (folder / "ref.trn").open("w") as few_references,
        (folder / "hyp.trn").open("w") as few_hypotheses,
    ):
        for place, (identity, said, recognised) in enumerate(simulate(utterances)):
            references.write(f"{identity} {said}\n")
            hypotheses.write(f"{identity} {recognised}\n")
            if place < utterances // SCLITE_SHARE:
                few_references.write(f"{said} ({identity})\n")
                few_hypotheses.write(f"{recognised} ({identity})\n")


def read_plainly(folder: Path) -> tuple[list[str], list[str]]:
    """Read both sides with as little as will do."""
    sides: list[dict[str, str]] = []
    for name in ("ref.txt", "hyp.txt"):
        lines = (folder / name).read_text().splitlines()
        sides.append(dict((*line.split(" ", 1), "")[:2] for line in lines))
    return list(sides[0].values()), [sides[1][identity] for identity in sides[0]]


def score_ours(folder: Path) -> Result:
    """Read, align and count words and characters with this package."""
    from asr.scoring.formats import read_hypotheses, read_references
    from asr.scoring.score import score_pairs

    started = time.process_time()
    references = read_references([folder / "ref.txt"])
    hypotheses = read_hypotheses([folder / "hyp.txt"], None, references)
    read = time.process_time()
    score = score_pairs(references.texts, hypotheses.texts)
    words = score.words
    counted = time.process_time()
    letters = score.characters.errors
    return {
        "seconds": time.process_time() - started,
        "reading": read - started,
        "words": counted - read,
        "characters": time.process_time() - counted,
        "errors": words.errors,
        "letters": letters,
    }


def draw_bootstrap(folder: Path) -> Result:
    """Time 10,000 replications, over speakers and over utterances."""
    from asr.scoring.formats import read_hypotheses, read_references
    from asr.scoring.intervals import bootstrap_interval
    from asr.scoring.score import score_pairs

    references = read_references([folder / "ref.txt"])
    hypotheses = read_hypotheses([folder / "hyp.txt"], None, references)
    score = score_pairs(references.texts, hypotheses.texts)
    speakers = {identity: identity.split("-")[0] for identity in references.texts}
    started = time.process_time()
    bootstrap_interval(score, speakers)
    over_speakers = time.process_time() - started
    started = time.process_time()
    bootstrap_interval(score, {})
    over_utterances = time.process_time() - started
    return {"seconds": over_speakers, "over utterances": over_utterances}


def run_command(folder: Path) -> Result:
    """Run the whole of ``asr score`` as a user does, start of Python included."""
    command = [sys.executable, "-m", "asr", "score", "--ref", str(folder / "ref.txt")]
    command += ["--hyp", str(folder / "hyp.txt")]
    subprocess.run(command, check=True, capture_output=True)
    return time_of_children()


def score_jiwer(folder: Path) -> Result:
    """Read and align words with jiwer."""
    import jiwer

    started = time.process_time()
    output = jiwer.process_words(*read_plainly(folder))
    errors = output.substitutions + output.deletions + output.insertions
    return {"seconds": time.process_time() - started, "errors": errors}


def score_rapidfuzz(folder: Path) -> Result:
    """Read and count the edits between words with RapidFuzz, without their kinds."""
    from rapidfuzz.distance import Levenshtein

    started = time.process_time()
    errors = sum(
        Levenshtein.distance(said.split(), recognised.split())
        for said, recognised in zip(*read_plainly(folder), strict=True)
    )
    return {"seconds": time.process_time() - started, "errors": errors}


def score_sclite(folder: Path) -> Result:
    """Let sclite align a tenth and write its summary."""
    program = shutil.which("sclite")
    command = [program] if program else ["sctk", "sclite"]
    command += ["-r", str(folder / "ref.trn"), "trn", "-h", str(folder / "hyp.trn"), "trn"]
    subprocess.run(
        [*command, "-i", "spu_id", "-o", "sum", "stdout"], check=True, capture_output=True
    )
    result = time_of_children()
    return {**result, "seconds": SCLITE_SHARE * result["seconds"]}


def time_of_children() -> Result:
    """Give processor seconds and peak memory of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024}


CONTENDERS: dict[str, Callable[[Path], Result]] = {
    "ours": score_ours,
    "jiwer": score_jiwer,
    "rapidfuzz": score_rapidfuzz,
    "sclite": score_sclite,
    "asr score": run_command,
    "bootstrap": draw_bootstrap,
}


def run_contender(name: str, folder: Path) -> Result:
    """Run a contender in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--contender", name, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def installed(name: str) -> bool:
    """Tell whether a contender can run here."""
    return name != "sclite" or bool(shutil.which("sclite") or shutil.which("sctk"))


def print_table(results: dict[str, Result]) -> None:
    """Print a line for each contender, with its time as a multiple of ours."""
    ours = results.get("ours", {}).get("seconds", 0.0)
    print(f"{'':12} {'seconds':>8} {'x ours':>7} {'MB':>6}  details")
    for name, result in results.items():
        shown = dict(result)
        seconds, megabytes = shown.pop("seconds"), shown.pop("megabytes")
        details = ", ".join(f"{key} {value:.6g}" for key, value in shown.items())
        ratio = f"{seconds / ours:7.2f}" if ours else f"{'':7}"
        print(f"{name:12} {seconds:8.2f} {ratio} {megabytes:6.0f}  {details}")


def main() -> None:
    """Simulate, run all contenders one after the other and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--utterances", type=int, default=UTTERANCES)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--folder", type=Path, help="keep the simulated files here and use them")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        result = CONTENDERS[args.contender](args.folder)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"megabytes": used, **result}))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "ref.txt").exists():
            print(f"simulating {args.utterances} utterances ...", file=sys.stderr)
            folder.mkdir(parents=True, exist_ok=True)
            write_corpus(folder, args.utterances)
        names = [name for name in args.only if installed(name)]
        results = {}
        for name in names:
            print(f"{name} ...", file=sys.stderr)
            results[name] = run_contender(name, folder)
        words = sum(len(line.split()) - 1 for line in (folder / "ref.txt").open())
    packages = ", ".join(f"{name} {version(name)}" for name in ("jiwer", "rapidfuzz", "numpy"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{packages}; {words} words, one core")
    print_table(results)


if __name__ == "__main__":
    main()
