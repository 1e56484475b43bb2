"""`asr lm` makes language models from text, converts them, and measures them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.lm.ngram_training import NGramSummary
    from asr.lm.sentence import Perplexity
    from asr.tokenizer import Tokenizer

_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Unknown words that are shown.
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes.

    Args:
        parser: the verb's own parser.
    """
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser("train", help="make an n-gram model (modified Kneser-Ney) from text")
    _add_train(train)
    convert = actions.add_parser("convert", help="turn an ARPA file into asr's file, or back")
    convert.add_argument(
        "source", type=Path, metavar="FILE", help="an ARPA file (.gz too), or ours"
    )
    convert.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE",
        help="to write: *.arpa or *.arpa.gz is ARPA, anything else asr's own",
    )  # fmt: skip
    _add_units(convert)
    gru = actions.add_parser("train-gru", help="train a GRU language model on text")
    _add_train_gru(gru)
    perplexity = actions.add_parser("perplexity", help="measure a language model on text")
    perplexity.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=_TEXT_HELP)
    perplexity.add_argument("--lm", type=Path, required=True, metavar="LM", help="what to measure")
    perplexity.add_argument("-m", "--model", type=Path, metavar="MODEL", help=_MODEL_HELP)


_TEXT_HELP = "text (.gz too), a sentence a line, or manifests (.jsonl)"
_MODEL_HELP = "model folder whose tokens are the units"


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=_TEXT_HELP)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help="the file to write, such as lm.bin")  # fmt: skip
    parser.add_argument("--arpa", type=Path, metavar="FILE", help="write the ARPA format as well")
    parser.add_argument(
        "--order", type=int, default=4, metavar="N", help="longest n-gram (default: %(default)s)"
    )
    _add_units(parser)
    parser.add_argument(
        "--prune", type=int, nargs="+", default=[0], metavar="N",
        help="for each order, leave out n-grams that occur no more often, such as 0 0 1 1; the "
        "last number holds for all orders after it",
    )  # fmt: skip
    parser.add_argument(
        "--discount-fallback", type=float, nargs="*", metavar="D",
        help="discounts of counts 1, 2, 3 and more where a small text gives none "
        "(0.5 1 1.5 unless said otherwise)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=_size, default=4 << 30, metavar="SIZE",
        help="memory for counting, such as 500M; more text is sorted in parts (default: 4G)",
    )  # fmt: skip
    parser.add_argument("--temp", type=Path, metavar="DIR", help="folder for temporary files")


def _add_train_gru(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=_TEXT_HELP)
    parser.add_argument(
        "--valid", nargs="+", type=Path, required=True, metavar="TEXT",
        help="other text, that decides which epoch's model is kept",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="RUN",
        help="the run's folder; RUN/model is the language model",
    )  # fmt: skip
    _add_units(parser)
    numbers: tuple[tuple[str, type, float, str], ...] = (
        ("epochs", int, 10, "passes over the text"),
        ("hidden-size", int, 512, "units of a layer"),
        ("layers", int, 2, "layers"),
        ("embedding-size", int, 256, "size of an item's vector"),
        ("dropout", float, 0.2, "probability with which values are dropped"),
        ("batch-items", int, 2000, "words or tokens of a batch, padding included"),
        ("lr", float, 2e-3, "the highest learning rate"),
        ("max-words", int, 50_000, "words of the vocabulary at most"),
        ("seed", int, 0, "decides weights, order and dropout"),
    )
    for name, kind, value, text in numbers:
        parser.add_argument(
            f"--{name}", type=kind, default=value, metavar="N", help=f"{text} (default: {value:g})"
        )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def _add_units(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unit", choices=("word", "token"), default="word",
        help="what is counted (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-m", "--model", type=Path, metavar="MODEL", help=_MODEL_HELP)


def run(args: argparse.Namespace) -> int:
    """Do one action and print what came of it.

    Args:
        args: what `add_arguments` declares.

    Returns:
        0.
    """
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "train": _train,
        "convert": _convert,
        "train-gru": _train_gru,
        "perplexity": _perplexity,
    }
    return actions[args.action](args)


def _train(args: argparse.Namespace) -> int:
    from asr.lm.ngram_training import NGramOptions, train_ngram

    options = NGramOptions(
        args.order, tuple(args.prune), _fallback(args.discount_fallback), args.memory, args.temp
    )
    summary = train_ngram(args.texts, args.output, options, _tokenizer(args), args.arpa)
    print(_format_summary(summary, args.unit))
    print(f"written to {args.output}" + (f" and {args.arpa}" if args.arpa else ""))
    return 0


def _convert(args: argparse.Namespace) -> int:
    from asr.lm.arpa import read_arpa
    from asr.lm.arpa_writing import write_arpa
    from asr.lm.ngram import Units
    from asr.lm.ngram_file import is_ngram_file, levels_of, read_ngram, write_ngram
    from asr.lm.tokens import fingerprint

    tokenizer = _tokenizer(args)
    if is_ngram_file(args.source):
        model = read_ngram(args.source)
        units, words, levels = model.units, model.words, levels_of(model.trie)
    else:
        words, levels = read_arpa(args.source)
        units = Units("token", fingerprint(tokenizer)) if tokenizer else Units()
    if args.output.name.endswith((".arpa", ".arpa.gz")):
        write_arpa(args.output, words, levels)
    else:
        write_ngram(args.output, units, words, levels)
    counts = ", ".join(f"{len(level)} {n}-grams" for n, level in enumerate(levels, start=1))
    print(f"{counts}\nwritten to {args.output}")
    return 0


def _train_gru(args: argparse.Namespace) -> int:
    from asr.training.language_model import GRUOptions, train_gru

    options = GRUOptions(
        embedding_size=args.embedding_size,
        hidden_size=args.hidden_size,
        num_layers=args.layers,
        dropout=args.dropout,
        max_words=args.max_words,
        epochs=args.epochs,
        batch_items=args.batch_items,
        lr=args.lr,
        seed=args.seed,
        accelerator=args.device,
    )
    result = train_gru(args.texts, args.valid, args.output, options, _tokenizer(args))
    print(
        f"best perplexity {result.perplexity:.2f} of a {args.unit} in epoch {result.epoch}; "
        f"language model in {result.folder}"
    )
    return 0


def _perplexity(args: argparse.Namespace) -> int:
    from asr.lm.corpus import read_sentences
    from asr.lm.loading import load_sentence_model
    from asr.lm.sentence import measure_perplexity
    from asr.model_folder import load_model

    tokenizer = load_model(args.model).tokenizer if args.model else None
    model = load_sentence_model(args.lm, tokenizer)
    print(_format_perplexity(measure_perplexity(model, read_sentences(args.texts)), model.unit))
    return 0


def _tokenizer(args: argparse.Namespace) -> "Tokenizer | None":
    if args.unit == "word":
        if args.model:
            raise UsageError("-m MODEL goes with --unit token; words need no model")
        return None
    if not args.model:
        raise UsageError("--unit token needs -m MODEL, whose tokens are counted")
    # Torch comes with it, which words can do without.
    from asr.model_folder import load_model

    return load_model(args.model).tokenizer


def _fallback(values: list[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    found = values or [0.5, 1.0, 1.5]
    found = [*found, *[found[-1]] * (3 - len(found))]
    if len(found) > 3 or not all(0 < value <= i for i, value in enumerate(found, start=1)):
        raise UsageError(
            f"--discount-fallback is {' '.join(map(str, values))}; expected up to three numbers, "
            "above 0 and at most 1, 2 and 3"
        )
    return found[0], found[1], found[2]


def _size(text: str) -> int:
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "K")
    try:
        size = int(float(number) * _SIZES[unit])
    except (ValueError, KeyError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected such as 500M or 4G")
    return size


def _format_summary(summary: "NGramSummary", unit: str) -> str:
    lines = [
        f"{summary.words:,} {unit}s in {summary.sentences:,} sentences, "
        f"{summary.vocabulary_size:,} different ones",
        "order      n-grams         kept  discounts of 1, 2, 3+",
    ]
    rows = zip(summary.found, summary.counts, summary.discounts, strict=True)
    for n, (found, kept, discounts) in enumerate(rows, start=1):
        shown = " ".join(f"{discount:.4f}" for discount in discounts)
        lines.append(f"{n:5} {found:12,} {kept:12,}  {shown}")
    return "\n".join(lines)


def _format_perplexity(result: "Perplexity", unit: str) -> str:
    unknown = result.unknown.total()
    share = 100 * unknown / max(1, result.items - result.sentences)
    lines = [
        f"{result.words:,} words, {result.items - result.sentences:,} {unit}s in "
        f"{result.sentences:,} sentences",
        f"perplexity of a {unit:5}  {result.by_item:10.2f}",
        f"perplexity of a word   {result.by_word:10.2f}",
        f"without unknown {unit}s {result.by_known_item:10.2f}",
        f"unknown {unit}s: {unknown} ({share:.2f} %)",
    ]
    if unknown:
        frequent = result.unknown.most_common(_SHOWN)
        more = len(result.unknown) - len(frequent)
        shown = ", ".join(f"{word} ({count})" for word, count in frequent)
        lines[-1] += f": {shown}" + (f" and {more} more" if more else "")
    return "\n".join(lines)
