"""`asr tune`: weights of a language model, and honest confidences and times, from a dev set."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.decoder_options import add_decoder_arguments, decoder_knowledge, decoder_options
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.tuning.search import Tuning

_TEST = re.compile(r"(^|[^a-z])test([^a-z]|$)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    from asr.text import NORMALIZERS

    parser.add_argument("manifest", help="JSONL manifest of a development set")
    parser.add_argument("-m", "--model", required=True, metavar="DIR", help="model folder")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="for the error surface (tuning.txt, .json, .png) and the log-probabilities, which "
        "another call with the same model and manifest uses again (default: MODEL-tuning)",
    )
    parser.add_argument(
        "--word-times",
        metavar="CTM",
        nargs="+",
        help="true times of words, files or a folder of *.ctm: fits the offset of word times too",
    )
    parser.add_argument(
        "--normalizer",
        choices=list(NORMALIZERS),
        default="none",
        help="applied to both sides before errors are counted (default: none)",
    )
    parser.add_argument(
        "--tune-hotwords",
        action="store_true",
        help="find the weight of the phrases of --hotwords that have none of their own, too",
    )
    parser.add_argument(
        "--allow-test", action="store_true", help="accept a manifest that is named as a test set"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="leave the model folder as it is and only report"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_decoder_arguments(parser, weights=False)


def run(args: argparse.Namespace) -> int:
    """Tune, print the surface and write the weights.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0, or 1 when recordings could not be read and were left out.

    Raises:
        UsageError: the manifest is named as a test set.
    """
    from asr.manifest import read_manifest

    if _TEST.search(args.manifest.lower()) and not args.allow_test:
        raise UsageError(
            f"{args.manifest} is named as a test set; what is tuned on it says nothing of other "
            "data. Tune on a development set, or add --allow-test"
        )
    utterances = read_manifest(args.manifest)

    from asr.model_config import save_decoder_options
    from asr.scoring.word_times import read_word_times
    from asr.tuning.run import (
        gather,
        tune_calibration,
        tune_hotwords,
        tune_rescoring,
        tune_weights,
    )

    truth = read_word_times(args.word_times) if args.word_times else None
    folder = Path(args.output or f"{str(args.model).rstrip('/')}-tuning")
    collected = gather(args.model, utterances, folder, args.device, args.normalizer)
    options = decoder_options(args, collected.recognizer.decoder_options)
    knowledge = decoder_knowledge(args, options)
    if args.tune_hotwords and not knowledge.hotwords:
        raise UsageError("--tune-hotwords weighs phrases; name their file with --hotwords")
    if knowledge.lm:
        tuning = tune_weights(collected, options, knowledge)
        _report(tuning, folder)
        options = tuning.applied(options)
    if args.tune_hotwords:
        line = tune_hotwords(collected, options, knowledge)
        print(line.format("weight of phrases"))
        options = replace(options, hotword_weight=line.best())
        knowledge = decoder_knowledge(args, options)
    if knowledge.rescoring_lm:
        line = tune_rescoring(collected, options, knowledge)
        print(line.format("weight of the rescoring model"))
        options = replace(options, rescoring_weight=line.best())
    options, facts = tune_calibration(collected, options, knowledge, truth)
    print("\n".join(facts))
    for failure in collected.failures:
        print(f"asr tune: failed: {failure}", file=sys.stderr)
    if not args.dry_run:
        save_decoder_options(args.model, options)
        print(f"asr tune: written to {args.model}/config.yaml", file=sys.stderr)
    return 1 if collected.failures else 0


def _report(tuning: "Tuning", folder: Path) -> None:
    import json

    from asr.files import atomic_write
    from asr.tuning.search import figures, format_tuning

    text = format_tuning(tuning)
    print(text)
    with atomic_write(folder / "tuning.txt") as stream:
        stream.write(text + "\n")
    with atomic_write(folder / "tuning.json") as stream:
        json.dump(figures(tuning), stream)
    try:
        from asr.tuning.picture import draw_surface

        picture = draw_surface(tuning)
    except ImportError:
        print("asr tune: no picture without matplotlib: pip install 'asr[plots]'", file=sys.stderr)
        return
    with atomic_write(folder / "tuning.png", "wb") as stream:
        stream.write(picture)
    print(f"asr tune: the error surface is in {folder}/tuning.png", file=sys.stderr)
