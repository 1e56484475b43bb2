"""`asr demo`: the other verbs, one after another, over a small corpus made on the spot."""

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path

from asr.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `asr demo`."""
    parser.add_argument(
        "-o",
        "--output-dir",
        default="asr-demo",
        metavar="DIR",
        help="where corpus, model and transcripts go (default asr-demo)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="further overrides for its `asr train`, such as trainer.max_epochs=5",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare, train, transcribe and evaluate; stop at the first verb that fails."""
    started = time.perf_counter()
    wrong = [word for word in args.overrides if "=" not in word]
    if wrong:
        raise ConfigError(f"'{wrong[0]}' is no override; expected key=value")
    place = Path(args.output_dir)
    print(
        f"A small corpus read by synthetic voices goes into {place}/, and a model learns from it.\n"
        "Every step is a verb that you can run yourself; each is shown before it runs."
    )
    for words in _steps(place, args.overrides):
        if words[0] == "transcribe":
            words += _some_recordings(place / "data" / "test.jsonl")
        print(f"\n$ asr {shlex.join(words)}", flush=True)
        code = _call(words)
        if code:
            print(f"asr demo: `asr {words[0]}` ended with exit code {code}", file=sys.stderr)
            return code
    print(_ending(place, time.perf_counter() - started))
    return 0


def _steps(place: Path, overrides: list[str]) -> list[list[str]]:
    corpus, data, run_folder = place / "corpus", place / "data", place / "run"
    model = str(run_folder / "model")
    return [
        ["prepare", "spoken", "--root", str(corpus), "-o", str(data)],
        [
            "train",
            "recipes=spoken/demo",
            f"data.train={data / 'train.jsonl'}",
            f"data.valid={data / 'dev.jsonl'}",
            f"output_dir={run_folder}",
            *overrides,
        ],
        ["transcribe", "-m", model, "-o", str(place / "transcripts")],
        ["evaluate", str(data / "test.jsonl"), "-m", model, "-o", str(place / "evaluation")],
    ]


def _call(words: list[str]) -> int:
    from asr.cli import main

    # Each verb sees the process as if it had been called from the shell.
    own, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        return main(words)
    finally:
        sys.argv = own


def _some_recordings(manifest: Path) -> list[str]:
    from asr.manifest import read_manifest

    first_of = {u.speaker: u.audio_filepath for u in reversed(read_manifest(manifest))}
    return sorted(first_of.values())


def _ending(place: Path, seconds: float) -> str:
    score = json.loads((place / "evaluation" / "score.json").read_text(encoding="utf-8"))
    example = _some_recordings(place / "data" / "test.jsonl")[0]
    model = place / "run" / "model"
    # Called as .venv/bin/asr, the program is not on the search path.
    asr = "asr" if shutil.which("asr") else shlex.quote(sys.argv[0])
    hold_out = "--speaker-from parent --valid-utterances 100"
    wer = 100 * score["wer"]
    return f"""
Done in {seconds / 60:.1f} minutes: word error rate {wer:.2f} % on speakers never heard in training.
  model        {model}
  transcripts  {place / "transcripts"} (some), {place / "evaluation" / "hypotheses.txt"} (all)
  alignments   {place / "evaluation" / "alignments.txt"}
  curves       tensorboard --logdir {place / "run"}
Next:
  {asr} transcribe {shlex.quote(example)} -m {model}
  {asr} prepare folder --root YOUR_RECORDINGS {hold_out} -o data/mine
  {asr} train data.train=data/mine/train.jsonl data.valid=data/mine/valid.jsonl name=mine"""
