"""Counts of n-grams: every order sorted in the prefix order of a trie, in parts that fit in memory.

The n-gram that ends at a position is known by the rank of its first ``n - 1`` words, its context,
and its last word: one number, whatever ``n`` is. Sorting these numbers ranks the n-grams of order
``n``, and those ranks are the contexts of order ``n + 1``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from asr.lm.vocabulary import END, START
from asr.lm.workspace import Array, Workspace

# Bytes of working memory for one position while a part is sorted.
_BYTES_A_POSITION = 48
_NONE = -1


@dataclass(frozen=True)
class OrderCounts:
    """All n-grams of one order, sorted by context and last word.

    Attributes:
        word: the last word's id (M,).
        link: the n-gram without its first word, as an index into the order below (M,).
        count: how often the n-gram occurs (M,).
        first_child: where the n-grams of the order above begin that continue this one, and at the
            end their number (M + 1,); empty for the highest order.
        start: the n-grams that begin with ``<s>``, a range.
    """

    word: Array
    link: Array
    count: Array
    first_child: Array
    start: tuple[int, int]

    def __len__(self) -> int:
        return len(self.word)


def count_ngrams(
    ids: Array, vocabulary_size: int, order: int, space: Workspace, done: Callable[[], object]
) -> list[OrderCounts]:
    """Count the n-grams of all orders.

    Args:
        ids: words and ``END`` between sentences, before the first and after the last, as
            ``encode_blocks`` makes them (T,) int32.
        vocabulary_size: the number of ids.
        order: the highest order.
        space: where large arrays go; its memory decides how many parts are sorted.
        done: called after each order.

    Returns:
        For each order from 1 its n-grams.
    """
    orders = [_unigrams(ids, vocabulary_size, space)]
    done()
    ranks: Array = ids
    for n in range(2, order + 1):
        below = orders[-1]
        ranks, above, children = _rank_order(ids, ranks, below, n, space, keep_ranks=n < order)
        first_child = _offsets(children, space)
        orders[-1] = replace(below, first_child=first_child)
        low, high = below.start
        orders.append(replace(above, start=(int(first_child[low]), int(first_child[high]))))
        done()
    return orders


def _unigrams(ids: Array, vocabulary_size: int, space: Workspace) -> OrderCounts:
    count = np.zeros(vocabulary_size, np.int64)
    for span in space.spans(len(ids)):
        count += np.bincount(ids[span], minlength=vocabulary_size)
    count[END] -= 1  # the one before the first sentence
    words = np.arange(vocabulary_size, dtype=np.int32)
    empty = np.empty(0, np.int32)
    return OrderCounts(words, np.zeros_like(words), count, empty, (START, START + 1))


def _rank_order(
    ids: Array, ranks: Array, below: OrderCounts, n: int, space: Workspace, keep_ranks: bool
) -> tuple[Array, OrderCounts, Array]:
    # Ranks of order n at every position, its n-grams, and how many continue each one below.
    vocabulary_size = len(below) if n == 2 else 1 + int(below.word.max())
    empty = np.empty(0, np.int32)
    new_ranks = space.array(len(ids) if keep_ranks else 0, np.int32)
    new_ranks.fill(_NONE)
    columns = [space.column(np.int32) for _ in range(3)]
    children = space.column(np.int32)
    found = 0
    for low, high in _parts(below, n, space):
        positions, contexts = _positions(ids, ranks, low, high, n, space)
        order = _sorted_pairs(contexts, ids[positions], high - low, vocabulary_size)
        contexts, places = contexts[order], positions[order]
        words = ids[places]
        new = np.ones(len(order), bool)
        np.not_equal(contexts[1:], contexts[:-1], out=new[1:])
        new[1:] |= words[1:] != words[:-1]
        firsts = np.flatnonzero(new)
        columns[0].append(words[firsts])
        columns[1].append(ranks[places[firsts]])
        columns[2].append(np.diff(firsts, append=len(order)))
        children.append(np.bincount(contexts[firsts], minlength=high - low))
        if keep_ranks:
            new_ranks[places] = found - 1 + np.cumsum(new)
        found += len(firsts)
    word, link, count = (column.finish() for column in columns)
    return new_ranks, OrderCounts(word, link, count, empty, (0, 0)), children.finish()


def _parts(below: OrderCounts, n: int, space: Workspace) -> Iterator[tuple[int, int]]:
    # Ranges of contexts that have no more positions than fit into memory, one context at least.
    size = max(1, space.memory_bytes // _BYTES_A_POSITION)
    counts = below.count
    if n == 2:
        # The end of a sentence is no context, but the beginning of the next one.
        counts = counts.copy()
        counts[START], counts[END] = counts[END], 0
    total = space.array(len(counts), np.int64)
    np.cumsum(counts, out=total)
    low, before = 0, 0
    while low < len(counts):
        high = max(low + 1, int(np.searchsorted(total, before + size, side="right")))
        yield low, high
        low, before = high, int(total[high - 1])


def _positions(
    ids: Array, ranks: Array, low: int, high: int, n: int, space: Workspace
) -> tuple[Array, Array]:
    # Where n-grams with these contexts end, and their contexts counted from the lowest.
    positions, contexts = [], []
    for span in space.spans(len(ids) - 1):
        context = _contexts(ids[span], ranks[span], n)
        places = np.flatnonzero((context >= low) & (context < high))
        contexts.append(context[places] - low)
        places += span.start + 1
        positions.append(places.astype(np.int32))
    return np.concatenate(positions), np.concatenate(contexts)


def _contexts(ids: Array, ranks: Array, n: int) -> Array:
    # What the n-grams that end one position later begin with; none goes on beyond a sentence.
    return np.where(ids == END, START if n == 2 else _NONE, ranks)


def _sorted_pairs(contexts: Array, words: Array, context_count: int, word_count: int) -> Array:
    # The order that sorts by context and then by word.
    word_bits = (word_count - 1).bit_length()
    place_bits = max(1, len(contexts) - 1).bit_length()
    keys = (contexts.astype(np.uint64) << np.uint64(word_bits)) | words.astype(np.uint64)
    if (context_count - 1).bit_length() + word_bits + place_bits > 64:
        return np.argsort(keys, kind="stable")
    # Sorting numbers that carry their places is several times faster than an indirect sort.
    keys = (keys << np.uint64(place_bits)) | np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64((1 << place_bits) - 1)).astype(np.int64)


def _offsets(children: Array, space: Workspace) -> Array:
    # Where each one's children begin, and their number at the end.
    offsets = space.array(len(children) + 1, np.int64)
    offsets[0] = 0
    np.cumsum(children, out=offsets[1:])
    return offsets
