"""`asr tokenizer`: fit a vocabulary to the transcripts of manifests."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `asr tokenizer` takes.

    Args:
        parser: of this verb.
    """
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="training manifests")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the vocabulary"
    )
    parser.add_argument(
        "--kind", default="sentencepiece", help="sentencepiece or characters (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="tokens of sentencepiece, the blank among them (default: 256)",
    )
    parser.add_argument(
        "--model-type", metavar="TYPE", help="of sentencepiece: unigram (default) or bpe"
    )


def run(args: argparse.Namespace) -> int:
    """Fit the vocabulary, save it, and say how it cuts the transcripts.

    Args:
        args: as ``add_arguments`` describes them.

    Returns:
        0.
    """
    from asr.manifest import read_manifest
    from asr.tokenizer import train_tokenizer

    utterances = [u for path in args.manifests for u in read_manifest(path)]
    subwords = args.kind == "sentencepiece"
    size = args.size or (256 if subwords else None)
    model_type = args.model_type or ("unigram" if subwords else None)
    tokenizer = train_tokenizer(args.kind, (u.text for u in utterances), size, model_type)
    tokenizer.save(args.output)
    tokens = sum(len(tokenizer.encode(u.text)) for u in utterances)
    words = sum(len(u.text.split()) for u in utterances)
    seconds = sum(u.duration for u in utterances)
    print(
        f"{tokenizer.vocabulary_size} tokens ({tokenizer.kind}) from {len(utterances)} transcripts "
        f"of {words} words: {tokens / max(1, words):.2f} tokens a word, "
        f"{tokens / max(1e-9, seconds):.1f} a second"
    )
    print(f"written to {args.output}; next: asr train tokenizer.folder={args.output} ...")
    return 0
