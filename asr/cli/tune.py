"""`asr tune`: weights of a language model, and honest confidences and times, from a dev set."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.computing import add_computing_arguments, load_transcriber, use_threads
from asr.cli.decoder_options import add_decoder_arguments, decoder_knowledge, decoder_options
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoder import Knowledge
    from asr.decoding.options import DecoderOptions
    from asr.manifest import Utterance
    from asr.tuning.run import TuningSet
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
    add_decoder_arguments(parser, weights=False)
    add_computing_arguments(parser)


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
    use_threads(args)
    utterances = read_manifest(args.manifest)

    from asr.model_config import save_decoder_options
    from asr.scoring.word_times import read_word_times
    from asr.tuning.run import tune_calibration

    truth = read_word_times(args.word_times) if args.word_times else None
    folder = Path(args.output or f"{str(args.model).rstrip('/')}-tuning")
    collected = _gather(args, utterances, folder)
    options = decoder_options(args, collected.recognizer.decoder_options)
    options, knowledge = _tune_search(args, collected, options, folder)
    options, facts = tune_calibration(collected, options, knowledge, truth)
    print("\n".join(facts))
    for failure in collected.failures:
        _say(f"failed: {failure}")
    if not args.dry_run:
        save_decoder_options(args.model, options)
        _say(f"written to {args.model}/config.yaml")
    return 1 if collected.failures else 0


def _tune_search(
    args: argparse.Namespace, collected: "TuningSet", options: "DecoderOptions", folder: Path
) -> "tuple[DecoderOptions, Knowledge]":
    """Find what decides the text, one number or pair after the other."""
    from asr.tuning.run import tune_hotwords, tune_rescoring, tune_rivals, tune_weights

    knowledge = decoder_knowledge(args, options)
    if args.tune_hotwords and not knowledge.hotwords:
        raise UsageError("--tune-hotwords weighs phrases; name their file with --hotwords")
    if options.kind == "greedy" and not knowledge and args.rivals_below is None:
        line = tune_rivals(collected, options)
        print(line.format("the sum below which two neighbouring tokens are one"))
        options = replace(options, rivals_below=line.best())
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
    return options, knowledge


def _gather(
    args: argparse.Namespace, utterances: "Sequence[Utterance]", folder: Path
) -> "TuningSet":
    from asr.tuning.run import gather

    return gather(
        load_transcriber(args, _say),
        args.model,
        utterances,
        folder,
        args.normalizer,
        batch_seconds=args.batch_seconds,
        workers=args.workers,
        progress=not args.quiet,
    )


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
        _say("no picture without matplotlib: pip install 'asr[plots]'")
        return
    with atomic_write(folder / "tuning.png", "wb") as stream:
        stream.write(picture)
    _say(f"the error surface is in {folder}/tuning.png")


def _say(sentence: str) -> None:
    print(f"asr tune: {sentence}", file=sys.stderr)
