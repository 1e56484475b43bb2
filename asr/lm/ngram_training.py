"""From text to the file of an n-gram model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr.errors import TextError, UsageError
from asr.lm.arpa_writing import write_arpa
from asr.lm.corpus import read_blocks, spell_blocks
from asr.lm.counts import count_ngrams
from asr.lm.kneser_ney import estimate, last_in_suffix_order
from asr.lm.levels import build_levels
from asr.lm.ngram import Units
from asr.lm.ngram_file import write_ngram
from asr.lm.tokens import fingerprint, token_names
from asr.lm.vocabulary import GrowingVocabulary, encode_blocks
from asr.lm.workspace import Array, Column, Workspace
from asr.tokenizer import Tokenizer

MAX_ORDER = 9
DEFAULT_FALLBACK = (0.5, 1.0, 1.5)
# Bytes of arrays for one word of text, all orders together, before they are laid on disk.
_BYTES_A_WORD = 150
_MAX_WORDS = (1 << 31) - 1


@dataclass(frozen=True)
class NGramOptions:
    """How an n-gram model is made.

    Attributes:
        order: the highest order.
        prune: for each order, n-grams that occur no more often are left out; the last number
            holds for the orders after it.
        fallback: discounts for orders whose counts give none; None: that is an error.
        memory_bytes: roughly what the arrays may take; more text than that is sorted in parts.
        folder: for temporary files; None: the system's.
    """

    order: int = 4
    prune: tuple[int, ...] = (0,)
    fallback: tuple[float, float, float] | None = None
    memory_bytes: int = 4 << 30
    folder: Path | None = None


@dataclass(frozen=True)
class NGramSummary:
    """What came of a training.

    Attributes:
        sentences: of the text, without empty lines.
        words: of the text.
        vocabulary_size: of the model, with the three special words.
        counts: n-grams of each order that were kept.
        found: n-grams of each order in the text.
        discounts: of each order, for counts of 1, 2 and 3 or more.
    """

    sentences: int
    words: int
    vocabulary_size: int
    counts: tuple[int, ...]
    found: tuple[int, ...]
    discounts: tuple[tuple[float, float, float], ...]


def train_ngram(
    texts: Sequence[Path | str],
    path: Path | str,
    options: NGramOptions,
    tokenizer: Tokenizer | None = None,
    arpa: Path | str | None = None,
) -> NGramSummary:
    """Train an n-gram model with modified Kneser–Ney smoothing and write its file.

    Args:
        texts: plain text, ``.gz`` or manifests, a sentence a line.
        path: the file to write.
        options: order, pruning and memory.
        tokenizer: its tokens are the units; None: words are.
        arpa: also write the model in the ARPA format here; ``.gz`` is compressed.

    Raises:
        TextError: no text, text that is broken, or too little of it.
        TokenizerError: a character that the tokenizer lacks.
        UsageError: an option is impossible.
    """
    prune = _checked(options)
    with Workspace(options.memory_bytes, options.folder) as space:
        ids, words, sentences = _encode(texts, tokenizer, space)
        space.on_disk = len(ids) * _BYTES_A_WORD > options.memory_bytes
        with tqdm(total=3 * options.order, desc="estimating", leave=False, delay=2) as progress:
            orders = count_ngrams(ids, len(words), options.order, space, progress.update)
            last = last_in_suffix_order(ids, options.order, space)
            estimates = estimate(orders, last, prune, options.fallback, space, progress.update)
            levels = build_levels(orders, estimates, space)
            units = Units("token", fingerprint(tokenizer)) if tokenizer else Units()
            write_ngram(path, units, words, levels)
            if arpa is not None:
                write_arpa(arpa, words, levels)
        return NGramSummary(
            sentences,
            len(ids) - 1 - sentences,
            len(words),
            tuple(map(len, levels)),
            tuple(map(len, orders)),
            tuple(found.discounts for found in estimates),
        )


def _checked(options: NGramOptions) -> tuple[int, ...]:
    if not 1 <= options.order <= MAX_ORDER:
        raise UsageError(f"the order is {options.order}; expected 1 to {MAX_ORDER}")
    prune = options.prune or (0,)
    if len(prune) > options.order or min(prune) < 0 or list(prune) != sorted(prune) or prune[0]:
        raise UsageError(
            f"--prune is {' '.join(map(str, prune))}; expected at most {options.order} numbers "
            "that do not fall, the first 0, such as 0 0 1 1"
        )
    return (*prune, *(prune[-1],) * (options.order - len(prune)))


def _encode(
    texts: Sequence[Path | str], tokenizer: Tokenizer | None, space: Workspace
) -> tuple[Array, list[str], int]:
    vocabulary = GrowingVocabulary()
    column: Column = space.file_column(np.int32)
    blocks = read_blocks(texts)
    if tokenizer:
        blocks = spell_blocks(blocks, tokenizer)
    sentences = encode_blocks(blocks, vocabulary, column)
    if tokenizer:
        # Tokens that the text lacks get what the unknown one gets, each its own.
        for name in token_names(tokenizer)[1:]:
            _ = vocabulary[name.encode()]
    ids = column.finish()
    if not sentences:
        raise TextError(f"no word in {', '.join(map(str, texts))}; expected a sentence a line")
    if len(ids) > _MAX_WORDS:
        raise TextError(f"the text has {len(ids)} words; at most {_MAX_WORDS} can be counted")
    return ids, vocabulary.words(), sentences
