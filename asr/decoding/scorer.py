"""A scorer adds knowledge of the language to a beam search, one token at a time."""

from collections.abc import Hashable
from typing import Protocol, TypeVar

StateT = TypeVar("StateT", bound=Hashable)


class Scorer(Protocol[StateT]):
    """Scores the tokens of a hypothesis from left to right: a language model, a list of phrases.

    Scores are natural logarithms, already multiplied by the scorer's weight. The scores of several
    scorers add up, and so do those of one hypothesis: ``score`` for each of its tokens, then
    ``final``. A scorer may take back later what it gave before (look-ahead, broken phrases), so
    that only the sum over a whole hypothesis must be right.

    States are hashable and equal where the future is the same; a search may ask for the same
    state and token again and keep the answers.
    """

    def start(self) -> StateT:
        """Give the state before the first token."""

    def score(self, state: StateT, token: int) -> tuple[float, StateT]:
        """Score one more token.

        Args:
            state: what ``start`` or an earlier call returned.
            token: a token id, never the blank.

        Returns:
            The weighted natural logarithm, ``-inf`` for what is impossible, and the state after the
            token.
        """

    def final(self, state: StateT) -> float:
        """Score the end of the hypothesis.

        Args:
            state: the state after the last token.

        Returns:
            The weighted natural logarithm that completes the sum.
        """
