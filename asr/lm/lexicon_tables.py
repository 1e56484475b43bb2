"""The trie of a lexicon as arrays, made level by level with NumPy."""

from collections.abc import Sequence

import numpy as np

from asr.decoding.tables import LEXICON_NODE, LexiconTables, code_points, frozen
from asr.lm.vocabulary import UNKNOWN
from asr.lm.workspace import Array


def lexicon_tables(
    words: Sequence[str], unigrams: Array, ids: Array, places: Array
) -> LexiconTables:
    """Lay out a lexicon for the compiled search; see ``LexiconTables``.

    Args:
        words: sorted.
        unigrams: decimal logarithm of each, ``-inf`` for names that the model lacks (W,).
        ids: the model's id of each (W,).
        places: the place of each of the model's words (V,).
    """
    letters = code_points("".join(words))
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    shared = _shared_beginnings(letters, lengths, offsets)
    # The first words of all nodes of a depth, and where each node's words end.
    low, high = [np.zeros(1, np.int64)], [np.array([len(words)])]
    letter, first_child = [np.zeros(1, np.int64)], []
    word = [np.array([0 if len(words) and not lengths[0] else -1])]
    nodes = 1
    for depth in range(1, int(lengths.max(initial=0)) + 2):
        fresh = shared < depth
        start = np.flatnonzero(fresh & (lengths >= depth))
        edges = np.append(np.flatnonzero(fresh), len(words))
        # Each node's children are those of the next depth that begin among its words.
        first_child.append(nodes + np.searchsorted(start, low[-1]))
        low.append(start)
        high.append(edges[np.searchsorted(edges, start, side="right")])
        letter.append(letters[offsets[start] + depth - 1])
        word.append(np.where(lengths[start] == depth, start, -1))
        nodes += len(start)
    lows, highs = np.concatenate(low), np.concatenate(high)
    names = np.concatenate(([0], np.cumsum(ids == UNKNOWN)))
    endings = np.concatenate(word)
    table = np.zeros(nodes + 1, LEXICON_NODE)
    table["first_child"][:] = np.append(np.concatenate(first_child), nodes)
    found = table[:nodes]
    found["low"], found["high"] = lows, highs
    found["letter"] = np.concatenate(letter)
    found["word"] = np.where(endings < 0, -1, np.append(ids, -1)[endings])
    found["named"] = names[highs] > names[lows]
    found["best"] = np.concatenate([_best(unigrams, *span) for span in zip(low, high, strict=True)])
    return LexiconTables(frozen(table, LEXICON_NODE), frozen(places, np.int32))


def _best(unigrams: Array, low: Array, high: Array) -> Array:
    # The greatest in each of several stretches that do not overlap.
    if not len(low) or not len(unigrams):
        return np.full(len(low), -np.inf)
    edges = np.stack((low, high), axis=1).ravel()
    found: Array = np.maximum.reduceat(np.append(unigrams, -np.inf), edges)[::2]
    return found


def _shared_beginnings(letters: Array, lengths: Array, offsets: Array) -> Array:
    # How many letters each word begins with that the one before it begins with too; -1 the first.
    shared = np.zeros(len(lengths), np.int64)
    shared[:1] = -1
    open_words = np.arange(1, len(lengths))
    depth = 0
    while len(open_words):
        open_words = open_words[(lengths[open_words] > depth) & (lengths[open_words - 1] > depth)]
        same = letters[offsets[open_words] + depth] == letters[offsets[open_words - 1] + depth]
        open_words = open_words[same]
        depth += 1
        shared[open_words] = depth
    return shared
