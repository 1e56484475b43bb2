"""The words of a model as a trie of letters that is never built.

In the sorted list of all words those that begin with the same letters stand together: a node of the
trie is a range of this list, and its children are found by bisection when they are first asked for.
"""

from bisect import bisect_left
from collections.abc import Iterable

NONE = -1
ROOT = 0


class Lexicon:
    """A trie over words; nodes are small integers, 0 the empty beginning.

    Args:
        words: the words, each once.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = sorted(words)
        self.low = [0]
        self.high = [len(self.words)]
        self._texts = [""]
        self._children: dict[tuple[int, str], int] = {}

    def child(self, node: int, letter: str) -> int:
        """Give the node one letter on, or ``NONE`` where no word goes on so."""
        found = self._children.get((node, letter))
        if found is None:
            found = self._children[node, letter] = self._find(node, letter)
        return found

    def word(self, node: int) -> int:
        """Give the place of the word that ends in a node, or ``NONE``."""
        low = self.low[node]
        return low if self.words[low] == self._texts[node] else NONE

    def _find(self, node: int, letter: str) -> int:
        text = self._texts[node] + letter
        low = bisect_left(self.words, text, self.low[node], self.high[node])
        if low == self.high[node] or not self.words[low].startswith(text):
            return NONE
        # Behind all words that begin so.
        high = bisect_left(
            self.words, True, low, self.high[node], key=lambda word: not word.startswith(text)
        )
        self.low.append(low)
        self.high.append(high)
        self._texts.append(text)
        return len(self._texts) - 1
