"""A scorer that prefers given phrases: names, terms, commands.

All phrases are looked for at once by an automaton of Aho and Corasick ("Efficient string matching",
1975) over letters, so that it does not matter into which tokens a phrase is cut. Every letter of a
phrase adds its weight at once, and what a match had got is taken back when it breaks off: a text
gets for each phrase that stands in it as whole words its weight times its letters, no more.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.decoding.options import HOTWORD_WEIGHT
from asr.decoding.tables import PHRASE_EDGE, PHRASE_NODE, PhraseTables, frozen
from asr.errors import TokenizerError, UsageError
from asr.tokenizer import Tokenizer

_ROOT, _SPACE = 0, 1


@dataclass(frozen=True)
class Phrase:
    """A phrase that is preferred.

    Attributes:
        text: its words, separated by single spaces.
        weight: natural logarithm that each of its letters, spaces included, adds.
    """

    text: str
    weight: float = HOTWORD_WEIGHT


def read_phrases(path: Path | str, weight: float = HOTWORD_WEIGHT) -> list[Phrase]:
    """Read a list of phrases.

    Args:
        path: UTF-8 text, a phrase a line; its own weight may follow after a tab. Empty lines and
            those that begin with ``#`` are left out.
        weight: of phrases without one of their own.

    Raises:
        UsageError: the file cannot be read, holds no phrase, or a weight is no positive number;
            names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list of phrases {path} cannot be read: {error}") from error
    phrases = []
    for number, line in enumerate(lines, start=1):
        text, _, own = line.partition("\t")
        text = " ".join(text.split())
        if not text or text.startswith("#"):
            continue
        try:
            found = float(own) if own.strip() else weight
        except ValueError:
            found = 0.0
        if not 0 < found < float("inf"):
            raise UsageError(
                f"{path}, line {number} '{line}': the weight is '{own}'; expected a number above 0"
            )
        phrases.append(Phrase(text, found))
    if not phrases:
        raise UsageError(f"the list of phrases {path} holds none; expected one a line")
    return phrases


class HotwordScorer:
    """Adds weight to texts in which given phrases stand as whole words.

    A state is a node of the automaton; it always begins behind a space.

    Args:
        phrases: what is preferred; a phrase given twice counts with its larger weight.
        tokenizer: of the acoustic model.

    Raises:
        UsageError: a phrase has a character that the tokenizer lacks; names both.
    """

    def __init__(self, phrases: Sequence[Phrase], tokenizer: Tokenizer) -> None:
        for phrase in phrases:
            try:
                tokenizer.encode(phrase.text)
            except TokenizerError as error:
                raise UsageError(f"hotword '{phrase.text}': {error}") from error
        self.pieces = tokenizer.pieces
        self._next: list[dict[str, int]] = [{}, {}]
        self._letters = ["", " "]
        self._next[_ROOT][" "] = _SPACE
        # Of a match that is not complete yet: what its letters have added.
        self._partial = [0.0, 0.0]
        # Of matches that are complete here.
        self._complete = [0.0, 0.0]
        self._parents = [_ROOT, _ROOT]
        self._fail = [_ROOT, _ROOT]
        weights: dict[str, float] = {}
        for phrase in phrases:
            weights[phrase.text] = max(phrase.weight, weights.get(phrase.text, 0.0))
        for text, weight in weights.items():
            self._insert(text, weight)
        self._link()
        self._known: dict[tuple[int, int], tuple[float, int]] = {}
        self.highest = self._highest_step() * max(map(len, self.pieces[1:]))

    def tables(self) -> PhraseTables:
        edges = [sorted((ord(letter), child) for letter, child in n.items()) for n in self._next]
        first = np.cumsum([0, *map(len, edges)]).tolist()
        spaces = [letter == " " for letter in self._letters]
        nodes = [*zip(first, self._fail, spaces, self._partial, self._complete, strict=False)]
        return PhraseTables(
            _SPACE,
            frozen([*nodes, (first[-1], 0, False, 0.0, 0.0)], PHRASE_NODE),
            frozen([edge for each in edges for edge in each], PHRASE_EDGE),
        )

    def start(self) -> int:
        return _SPACE

    def score(self, state: int, token: int) -> tuple[float, int]:
        found = self._known.get((state, token))
        if found is None:
            total, node = 0.0, state
            for letter in self.pieces[token]:
                score, node = self._step(node, letter)
                total += score
            found = self._known[state, token] = total, node
        return found

    def final(self, state: int) -> float:
        score, node = self._step(state, " ")
        return score - self._partial[node]

    def _insert(self, text: str, weight: float) -> None:
        node = _SPACE
        for count, letter in enumerate(text + " ", start=1):
            following = self._next[node].get(letter)
            if following is None:
                following = self._next[node][letter] = len(self._next)
                self._next.append({})
                self._letters.append(letter)
                self._partial.append(0.0)
                self._complete.append(0.0)
                self._parents.append(node)
                self._fail.append(_ROOT)
            node = following
            if count <= len(text):
                self._partial[node] = max(self._partial[node], weight * count)
        self._complete[node] += weight * len(text)

    def _link(self) -> None:
        # Breadth first, so that all shorter endings are ready.
        waiting = deque([_SPACE])
        while waiting:
            node = waiting.popleft()
            for letter, child in self._next[node].items():
                waiting.append(child)
                fail = self._goto(self._fail[node], letter)
                self._fail[child] = fail
                # The best of all matches that may be under way, and all that are complete.
                self._partial[child] = max(self._partial[child], self._partial[fail])
                self._complete[child] += self._complete[fail]

    def _goto(self, node: int, letter: str) -> int:
        while letter not in self._next[node]:
            if node == _ROOT:
                return _ROOT
            node = self._fail[node]
        return self._next[node][letter]

    def _step(self, node: int, letter: str) -> tuple[float, int]:
        if letter == " " and self._letters[node] == " ":
            # Several spaces are one.
            return 0.0, node
        following = self._goto(node, letter)
        gained = self._partial[following] - self._partial[node] + self._complete[following]
        return gained, following

    def _highest_step(self) -> float:
        # Whatever led to a node, it had at least what the node's parent has.
        return max(
            self._complete[node] + self._partial[node] - self._partial[self._parents[node]]
            for node in range(_SPACE, len(self._next))
        )
