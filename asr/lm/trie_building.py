"""From n-grams in any order to the levels of a trie."""

from collections.abc import Sequence

import numpy as np

from asr.errors import LanguageModelError
from asr.lm.levels import ROOT, Level
from asr.lm.workspace import Array


class NGrams:
    """The n-grams of one order as they are read.

    Args:
        order: their number of words.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self._ids: list[int] = []
        self._probs: list[float] = []
        self._backoffs: list[float] = []
        self._parts: list[tuple[Array, Array, Array]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, ids: Sequence[int], log10_prob: float, log10_backoff: float) -> None:
        """Add one n-gram."""
        self._ids += ids
        self._probs.append(log10_prob)
        self._backoffs.append(log10_backoff)
        self._count += 1
        if len(self._probs) >= 1 << 16:
            self._pack()

    def extend(self, ids: Array, log10_probs: Array, log10_backoffs: Array) -> None:
        """Add many n-grams: ids (M, n), logarithms (M,) and back-offs (M,)."""
        self._pack()
        probs, backoffs = log10_probs.astype(np.float32), log10_backoffs.astype(np.float32)
        self._parts.append((np.ascontiguousarray(ids), probs, backoffs))
        self._count += len(ids)

    def arrays(self) -> tuple[Array, Array, Array]:
        """Give ids (M, n), logarithms (M,) and back-offs (M,)."""
        self._pack()
        ids, probs, backoffs = (np.concatenate(x) for x in zip(*self._parts, strict=True))
        return ids, probs, backoffs

    def _pack(self) -> None:
        # Lists of Python's numbers take ten times as much memory.
        ids = np.array(self._ids, np.int32).reshape(-1, self.order)
        probs, backoffs = np.array(self._probs, np.float32), np.array(self._backoffs, np.float32)
        self._parts.append((ids, probs, backoffs))
        self._ids, self._probs, self._backoffs = [], [], []


def build_trie(orders: Sequence[NGrams], words: Sequence[str], source: str) -> list[Level]:
    """Sort n-grams into a trie.

    A context that is missing is added with the probability that back-off gives it, which changes
    nothing.

    Args:
        orders: the n-grams of each order; the first has every word once.
        words: the vocabulary in the order of ids.
        source: the file, for messages.

    Raises:
        LanguageModelError: an n-gram stands there twice.
    """
    arrays = [order.arrays() for order in orders]
    for n in range(len(arrays) - 1, 1, -1):
        arrays[n - 1] = _with_contexts(arrays[n - 1], arrays[n][0][:, :-1])
    keys: list[Array] = []
    parents: list[Array] = []
    sorted_orders: list[tuple[Array, Array, Array]] = []
    for n, (ids, probs, backoffs) in enumerate(arrays, start=1):
        parent = _find(keys, ids[:, :-1], len(words))
        key = parent * len(words) + ids[:, -1]
        order = np.argsort(key, kind="stable")
        key = key[order]
        if (twice := np.flatnonzero(key[1:] == key[:-1])).size:
            gram = " ".join(words[i] for i in ids[order[twice[0]]])
            raise LanguageModelError(
                f"ARPA file {source}: the {n}-gram '{gram}' stands there twice"
            )
        keys.append(key)
        parents.append(parent[order])
        sorted_orders.append((ids[order], probs[order], backoffs[order]))
    _fill_contexts(sorted_orders, keys, len(words))
    return _levels(sorted_orders, keys, parents, len(words))


def _with_contexts(
    arrays: tuple[Array, Array, Array], contexts: Array
) -> tuple[Array, Array, Array]:
    # Contexts that the order lacks, with an unknown probability.
    ids, probs, backoffs = arrays
    both = np.concatenate((ids, np.ascontiguousarray(contexts)))
    rows = both.view(np.dtype((np.void, both.dtype.itemsize * both.shape[1]))).ravel()
    missing = np.setdiff1d(rows[len(ids) :], rows[: len(ids)])
    if not len(missing):
        return arrays
    added = missing.view(both.dtype).reshape(-1, both.shape[1])
    unknown = np.full(len(added), np.nan, np.float32)
    zeros = np.zeros(len(added), np.float32)
    return (
        np.concatenate((ids, added)),
        np.concatenate((probs, unknown)),
        np.concatenate((backoffs, zeros)),
    )


def _find(keys: Sequence[Array], ids: Array, vocabulary_size: int) -> Array:
    # The places of word sequences (M, k) in the order k, -1 where one is not there.
    found = np.zeros(len(ids), np.int64)
    for n in range(ids.shape[1]):
        wanted = found * vocabulary_size + ids[:, n]
        place = np.minimum(keys[n].searchsorted(wanted), len(keys[n]) - 1)
        found = np.where((found >= 0) & (keys[n][place] == wanted), place, -1)
    return found


def _fill_contexts(
    orders: Sequence[tuple[Array, Array, Array]], keys: Sequence[Array], vocabulary_size: int
) -> None:
    def log10_prob(ids: Array) -> float:
        n = ids.shape[1]
        place = int(_find(keys, ids, vocabulary_size)[0])
        if place >= 0 and not np.isnan(orders[n - 1][1][place]):
            return float(orders[n - 1][1][place])
        context = int(_find(keys, ids[:, :-1], vocabulary_size)[0])
        backoff = float(orders[n - 2][2][context]) if context >= 0 else 0.0
        return backoff + log10_prob(ids[:, 1:])

    for ids, probs, _ in orders[1:]:
        for place in np.flatnonzero(np.isnan(probs)):
            probs[place] = log10_prob(ids[place : place + 1])


def _levels(
    orders: Sequence[tuple[Array, Array, Array]],
    keys: Sequence[Array],
    parents: Sequence[Array],
    vocabulary_size: int,
) -> list[Level]:
    first_nodes = 1 + np.cumsum([0, *(len(ids) for ids, _, _ in orders)])
    levels = []
    for n, (ids, probs, backoffs) in enumerate(orders, start=1):
        link = np.full(len(ids), ROOT, np.int64)
        for shorter in range(1, n):
            # The longest ending wins, so it comes last.
            place = _find(keys, ids[:, n - shorter :], vocabulary_size)
            link = np.where(place >= 0, first_nodes[shorter - 1] + place, link)
        highest = n == len(orders)
        first_child = np.empty(0, np.int64)
        if not highest:
            first_child = parents[n].searchsorted(np.arange(len(ids) + 1))
        backoff = np.empty(0, np.float32) if highest else backoffs
        levels.append(Level(ids[:, -1], probs, backoff, first_child, link))
    return levels
