"""The flags of a decoder, which several verbs share."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoder import Knowledge
    from asr.decoding.options import DecoderOptions
    from asr.lm.hotwords import Phrase
    from asr.transcriber import Transcriber

TranscriberT = TypeVar("TranscriberT", bound="Transcriber")

# Flag, key of the model folder's `decoder:` section, type.
_OPTIONS = (
    ("rivals_below", "rivals_below", float),
    ("beam", "beam_size", int),
    ("lm_weight", "lm_weight", float),
    ("insertion_bonus", "insertion_bonus", float),
    ("rescore_weight", "rescoring_weight", float),
    ("hotword_weight", "hotword_weight", float),
    ("token_threshold", "token_threshold", float),
    ("beam_threshold", "beam_threshold", float),
)


def add_decoder_arguments(
    parser: argparse.ArgumentParser, *, weights: bool = True, nbest: bool = False
) -> None:
    """Declare the flags that choose and steer a decoder.

    Args:
        parser: the verb's own parser.
        weights: with the flags of weights and of rescoring.
        nbest: with the flag that asks for several hypotheses.
    """
    group = parser.add_argument_group(
        "decoding", "greedy, unless one of these asks for a beam search; defaults are the model's"
    )
    group.add_argument("--lm", metavar="FILE", help="a language model of `asr lm`, or an ARPA file")
    group.add_argument(
        "--rivals-below",
        type=float,
        metavar="P",
        help="two tokens in neighbouring frames are one where their probabilities add up to less "
        "than this; 0: never",
    )
    group.add_argument("--beam", type=int, metavar="N", help="hypotheses kept after each frame")
    group.add_argument(
        "--hotwords", metavar="FILE", help="phrases to prefer, one a line, a weight behind a tab"
    )
    group.add_argument(
        "--hotword-weight",
        type=float,
        metavar="W",
        help="what every letter of a phrase adds, a natural logarithm",
    )
    _add_search_arguments(group)
    if nbest:
        group.add_argument(
            "--nbest",
            type=int,
            default=1,
            metavar="N",
            help="hypotheses of each recording, with their scores, in JSON (default 1)",
        )
    group.add_argument(
        "--rescore-lm", metavar="FILE", help="a language model that ranks the search's hypotheses"
    )
    if not weights:
        return
    group.add_argument("--lm-weight", type=float, metavar="W", help="weight of the language model")
    group.add_argument(
        "--insertion-bonus", type=float, metavar="W", help="added for every word, with --lm"
    )
    group.add_argument("--rescore-weight", type=float, metavar="W", help="weight of --rescore-lm")


def _add_search_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token-threshold",
        type=float,
        metavar="D",
        help="tokens this much less likely than a frame's best are left out, natural logarithm",
    )
    group.add_argument(
        "--beam-threshold",
        type=float,
        metavar="D",
        help="hypotheses this much less likely than the best are dropped, natural logarithm",
    )
    group.add_argument(
        "--search",
        choices=("auto", "compiled", "plain", "batched"),
        default="auto",
        help="how a beam search runs, which changes its speed alone: compiled needs numba (the "
        "extra fast), batched suits a GPU; auto: compiled where it is possible, else batched on a "
        "GPU and plain on a processor",
    )


def decoder_options(args: argparse.Namespace, defaults: "DecoderOptions") -> "DecoderOptions":
    """Give the model's options with those that the command line changes.

    Args:
        args: what `add_decoder_arguments` declares.
        defaults: of the model folder.
    """
    changes = {
        key: getattr(args, flag)
        for flag, key, _ in _OPTIONS
        if getattr(args, flag, None) is not None
    }
    # Who names a beam wants one.
    if args.beam is not None:
        changes["kind"] = "beam"
    return replace(defaults, **changes)


def decoder_knowledge(args: argparse.Namespace, options: "DecoderOptions") -> "Knowledge":
    """Read the phrases and name the language models that the command line gives.

    Args:
        args: what `add_decoder_arguments` declares.
        options: have the weight of phrases without one of their own.

    Raises:
        UsageError: a weight without what it weighs, or a list of phrases that cannot be read.
    """
    from asr.decoder import Knowledge

    if args.hotword_weight is not None and not args.hotwords:
        raise UsageError("--hotword-weight weighs phrases; name their file with --hotwords")
    lm, rescoring_lm = args.lm, args.rescore_lm
    if getattr(args, "rescore_weight", None) is not None and not rescoring_lm:
        raise UsageError("--rescore-weight weighs a second model; name its file with --rescore-lm")
    for flag in ("lm_weight", "insertion_bonus"):
        if getattr(args, flag, None) is not None and not (lm or rescoring_lm):
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} needs a language model; name its file with --lm")
    phrases: tuple[Phrase, ...] = ()
    if args.hotwords:
        from asr.lm.hotwords import read_phrases

        phrases = tuple(read_phrases(args.hotwords, options.hotword_weight))
    return Knowledge(lm, phrases, rescoring_lm)


def use_decoder(recognizer: TranscriberT, args: argparse.Namespace) -> TranscriberT:
    """Give a recognizer the decoder that the command line asks for.

    Args:
        recognizer: decodes greedily until then.
        args: what `add_decoder_arguments` declares.

    Returns:
        The recognizer.

    Raises:
        LanguageModelError: a language model cannot be read or does not fit.
        UsageError: options that do not go together.
    """
    from asr.decoder import build_decoder

    recognizer.decoder_options = decoder_options(args, recognizer.decoder_options)
    recognizer.decoder = build_decoder(
        recognizer.tokenizer,
        recognizer.decoder_options,
        decoder_knowledge(args, recognizer.decoder_options),
        nbest=getattr(args, "nbest", 1),
        search=args.search,
        device=str(recognizer.device),
    )
    return recognizer


def decoder_record(recognizer: "Transcriber", args: argparse.Namespace) -> dict[str, Any]:
    """Give all that decides what the decoder of `use_decoder` finds, as plain values.

    Args:
        recognizer: with that decoder.
        args: what `add_decoder_arguments` declares.
    """
    files = [args.lm, args.rescore_lm, args.hotwords]
    return {
        "name": recognizer.decoder.name,
        **asdict(recognizer.decoder_options),
        "nbest": getattr(args, "nbest", 1),
        "files": [_mark(name) for name in files],
    }


def _mark(name: str | None) -> tuple[str, int, int] | None:
    if name is None:
        return None
    state = Path(name).stat()
    return str(Path(name).resolve()), state.st_size, state.st_mtime_ns
