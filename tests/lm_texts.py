"""Small texts, tokenizers and models that several tests of language models share."""

from collections.abc import Sequence
from pathlib import Path

from asr.lm.ngram import NGramModel
from asr.lm.ngram_file import read_ngram
from asr.lm.ngram_training import NGramOptions, train_ngram
from asr.tokenizer import CharacterTokenizer, SentencePieceTokenizer, Tokenizer

LMPLZ = Path(__file__).parent / "lmplz"
SENTENCES = (
    "THE CAT SAT",
    "THE CAT SAT ON THE MAT",
    "A CAT SAT",
    "THE CATS SIT",
    "THE DOG SAT ON A MAT",
    "A DOG AND A CAT",
    "DOGS AND CATS SIT",
    "SIT ON THE MAT",
)
FALLBACK = (0.5, 1.0, 1.5)


def small_model(
    folder: Path, tokenizer: Tokenizer | None = None, sentences: Sequence[str] = SENTENCES
) -> NGramModel:
    """Train a trigram model on a few sentences."""
    text, path = folder / "text.txt", folder / "lm.bin"
    text.write_text("".join(sentence + "\n" for sentence in sentences))
    train_ngram([text], path, NGramOptions(order=3, fallback=FALLBACK), tokenizer)
    return read_ngram(path)


def small_tokenizers() -> dict[str, Tokenizer]:
    """Give a tokenizer of each kind that can spell the sentences."""
    return {
        "characters": CharacterTokenizer.train(["ABCDEFGHIJKLMNOPQRSTUVWXYZ '"]),
        "sentencepiece": SentencePieceTokenizer.train(SENTENCES, 32, "bpe"),
    }
