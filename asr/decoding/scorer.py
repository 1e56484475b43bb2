"""A scorer adds knowledge of the language to a beam search, one token at a time."""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar

StateT = TypeVar("StateT", bound=Hashable)


class Scorer(Protocol[StateT]):
    """Scores the tokens of a hypothesis from left to right: a language model, a list of phrases.

    Scores are natural logarithms, already multiplied by the scorer's weight. The scores of several
    scorers add up, and so do those of one hypothesis: ``score`` for each of its tokens, then
    ``final``. A scorer may take back later what it gave before (look-ahead, broken phrases), so
    that only the sum over a whole hypothesis must be right.

    ``highest`` is a number that no single score exceeds, ``inf`` where none is known. With a low
    one a search leaves most tokens unscored, since the rest of their score rules them out.

    States are hashable and equal where the future is the same; a search may ask for the same
    state and token again and keep the answers.
    """

    @property
    def highest(self) -> float:
        """An upper bound of what ``score`` returns."""

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


class ScorerSum:
    """Several scorers as one.

    Args:
        scorers: whose scores are added.
    """

    def __init__(self, scorers: Sequence[Scorer[Any]]) -> None:
        self.scorers = tuple(scorers)

    @property
    def highest(self) -> float:
        return sum(scorer.highest for scorer in self.scorers)

    def start(self) -> tuple[Any, ...]:
        return tuple(scorer.start() for scorer in self.scorers)

    def score(self, state: tuple[Any, ...], token: int) -> tuple[float, tuple[Any, ...]]:
        total = 0.0
        states = []
        for scorer, own in zip(self.scorers, state, strict=True):
            score, following = scorer.score(own, token)
            total += score
            states.append(following)
        return total, tuple(states)

    def final(self, state: tuple[Any, ...]) -> float:
        return sum(scorer.final(own) for scorer, own in zip(self.scorers, state, strict=True))


def score_tokens(scorer: Scorer[Any], tokens: Sequence[int]) -> float:
    """Score a whole hypothesis.

    Args:
        scorer: one or the sum of several.
        tokens: L token ids, without blanks.

    Returns:
        The sum of all scores, the final one included.
    """
    state = scorer.start()
    total = 0.0
    for token in tokens:
        score, state = scorer.score(state, token)
        total += score
    return total + scorer.final(state)
