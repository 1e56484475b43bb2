"""An n-gram model: a trie of arrays that gives probabilities word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asr.decoding.tables import TrieTables
from asr.errors import LanguageModelError
from asr.lm.levels import ROOT
from asr.lm.vocabulary import END, START, UNKNOWN
from asr.lm.workspace import Array

UNITS = ("word", "token")
# Contexts with more continuations are searched and not turned into a dictionary.
_LARGE = 4096
# Entries that all dictionaries together may have.
_CACHED = 1 << 22


@dataclass(frozen=True)
class Units:
    """What an n-gram model counts as one item.

    Attributes:
        kind: ``"word"`` or ``"token"``.
        tokenizer: fingerprint of the tokenizer whose tokens they are; empty for words.
    """

    kind: str = "word"
    tokenizer: str = ""


@dataclass(frozen=True)
class Trie:
    """The arrays of a model; node 0 is the empty context, then come the n-grams, order by order.

    Attributes:
        counts: the number of n-grams of each order.
        word: last words' ids (N,) uint32.
        log10_prob: (N,) float32.
        log10_backoff: (K,) float32, of the nodes below the highest order.
        first_child: (K + 1,), where each one's continuations begin.
        link: (N,), the node of the longest ending that the model holds.
    """

    counts: tuple[int, ...]
    word: Array
    log10_prob: Array
    log10_backoff: Array
    first_child: Array
    link: Array

    def tables(self) -> TrieTables:
        """Give the arrays as a compiled search reads them."""
        return TrieTables(
            self.word, self.log10_prob, self.log10_backoff, self.first_child, self.link
        )


class NGramModel:
    """An n-gram model with back-off.

    Args:
        units: what its words are.
        words: the vocabulary in the order of ids.
        trie: its arrays.
    """

    def __init__(self, units: Units, words: Sequence[str], trie: Trie) -> None:
        self.units = units
        self.words = words
        self.trie = trie
        self.inner_nodes = len(trie.log10_backoff)
        self._dictionaries: dict[int, dict[int, int]] = {}
        self._entries = 0

    @property
    def order(self) -> int:
        """The longest n-gram's number of words."""
        return len(self.trie.counts)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: index for index, word in enumerate(self.words)}

    def word_id(self, word: str) -> int:
        """Give a word's id, that of the unknown word if the model lacks it."""
        return self.ids.get(word, UNKNOWN)

    def start(self) -> int:
        """Give the state at the beginning of a sentence."""
        return self._shortened(1 + START)

    def score(self, state: int, word: int) -> tuple[float, int]:
        """Score one more word.

        Args:
            state: what ``start`` or an earlier call returned: a node, equal where the future is.
            word: an id.

        Returns:
            The decimal logarithm of its probability, and the state after it.
        """
        trie = self.trie
        log10_prob = 0.0
        node = state
        while (child := self._child(node, word)) < 0:
            log10_prob += float(trie.log10_backoff[node])
            node = int(trie.link[node])
        log10_prob += float(trie.log10_prob[child])
        return log10_prob, self._shortened(child)

    def final(self, state: int) -> float:
        """Score the end of the sentence; a decimal logarithm."""
        return self.score(state, END)[0]

    def score_words(self, words: Sequence[int], *, end: bool = True) -> list[float]:
        """Score the words of a sentence and, unless told otherwise, its end."""
        state, scores = self.start(), []
        for word in [*words, END] if end else words:
            log10_prob, state = self.score(state, word)
            scores.append(log10_prob)
        return scores

    def score_batch(self, states: Array, words: Array) -> tuple[Array, Array]:
        """Score one word after each of many states.

        Args:
            states: nodes (B,) int64.
            words: ids (B,).

        Returns:
            Decimal logarithms (B,) float64, and the states after the words (B,) int64.
        """
        trie = self.trie
        log10_probs = np.zeros(len(states))
        nexts = np.zeros(len(states), np.int64)
        rows = np.arange(len(states))
        nodes = np.asarray(states, np.int64)
        words = np.asarray(words, np.int64)
        while len(rows):
            places, found = self._search(nodes, words[rows])
            log10_probs[rows[found]] += trie.log10_prob[places[found]]
            nexts[rows[found]] = places[found]
            rows, nodes = rows[~found], nodes[~found]
            log10_probs[rows] += trie.log10_backoff[nodes]
            nodes = trie.link[nodes].astype(np.int64)
        return log10_probs, self._shortened_batch(nexts)

    def log10_probs(self, state: int) -> Array:
        """Give the decimal logarithms of all words after a state (V,) float64."""
        trie = self.trie
        chain = [state]
        while chain[-1] != ROOT:
            chain.append(int(trie.link[chain[-1]]))
        row = np.empty(len(self.words))
        for node in reversed(chain):
            low, high = int(trie.first_child[node]), int(trie.first_child[node + 1])
            row += float(trie.log10_backoff[node])
            row[trie.word[low:high]] = trie.log10_prob[low:high]
        return row

    def _child(self, node: int, word: int) -> int:
        # The continuation's node, or -1.
        found = self._dictionaries.get(node)
        if found is not None:
            return found.get(word, -1)
        trie = self.trie
        low, high = int(trie.first_child[node]), int(trie.first_child[node + 1])
        if node == ROOT:
            return low + word
        words = trie.word[low:high]
        if high - low > _LARGE:
            place = int(words.searchsorted(trie.word.dtype.type(word)))
            return low + place if place < high - low and words[place] == word else -1
        if self._entries > _CACHED:
            self._dictionaries.clear()
            self._entries = 0
        self._entries += 1 + high - low
        self._dictionaries[node] = found = dict(zip(words.tolist(), range(low, high), strict=True))
        return found.get(word, -1)

    def _search(self, nodes: Array, words: Array) -> tuple[Array, Array]:
        # By bisection in all rows at once: places, and where the word stands there.
        trie = self.trie
        low = trie.first_child[nodes].astype(np.int64)
        end = trie.first_child[nodes + 1].astype(np.int64)
        high = end
        while (open_rows := low < high).any():
            middle = (low + high) // 2
            less = open_rows & (trie.word[np.where(open_rows, middle, 0)] < words)
            low = np.where(less, middle + 1, low)
            high = np.where(open_rows & ~less, middle, high)
        found = low < end
        found[found] = trie.word[low[found]] == words[found]
        return low, found

    def _shortened(self, node: int) -> int:
        # A context that nothing continues and that costs nothing to leave tells the future no more
        # than its ending does: with fewer states a search has less to do.
        trie = self.trie
        while node >= self.inner_nodes or (
            node != ROOT
            and trie.first_child[node] == trie.first_child[node + 1]
            and trie.log10_backoff[node] == 0
        ):
            node = int(trie.link[node])
        return node

    def _shortened_batch(self, nodes: Array) -> Array:
        trie = self.trie
        while True:
            inner = np.minimum(nodes, self.inner_nodes - 1)
            idle = (trie.first_child[inner] == trie.first_child[inner + 1]) & (
                trie.log10_backoff[inner] == 0
            )
            longer = (nodes != ROOT) & (idle | (nodes >= self.inner_nodes))
            if not longer.any():
                return nodes
            nodes = np.where(longer, trie.link[nodes], nodes).astype(np.int64)


def require_unit(model: NGramModel, kind: str, tokenizer: str = "") -> None:
    """Refuse a model of other units than are needed.

    Args:
        model: the model.
        kind: ``"word"`` or ``"token"``.
        tokenizer: fingerprint of the tokenizer in use.

    Raises:
        LanguageModelError: it counts other units, or tokens of another tokenizer.
    """
    if model.units.kind != kind:
        raise LanguageModelError(
            f"the language model is one of {model.units.kind}s; expected one of {kind}s: train it "
            f"with --unit {kind}"
        )
    if kind == "token" and model.units.tokenizer != tokenizer:
        raise LanguageModelError(
            "the language model counts the tokens of another tokenizer (fingerprint "
            f"{model.units.tokenizer}) than this model's ({tokenizer}); train it with -m MODEL on "
            "this model"
        )
