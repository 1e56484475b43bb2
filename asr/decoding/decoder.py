"""A decoder is what a recognizer holds: log-probabilities in, the best hypotheses out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from asr.decoding.greedy import greedy_decode
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.search import Search, align_hypothesis

# Scores hypotheses as wholes, in weighted natural logarithms.
Rescorer = Callable[[Sequence[Hypothesis]], Sequence[float]]


class Decoder(Protocol):
    """Turns the log-probabilities of one utterance into hypotheses."""

    name: str
    nbest: int
    # Utterances that are best decoded together; 1 where that gains nothing.
    batch_size: int

    def decode_batch(self, log_probs: Sequence[ArrayLike]) -> list[tuple[Hypothesis, ...]]:
        """Decode utterances together; each gets what ``decode`` gives.

        Args:
            log_probs: ``(U, V)`` of each.
        """

    def decode(self, log_probs: ArrayLike) -> tuple[Hypothesis, ...]:
        """Decode one utterance.

        Args:
            log_probs: ``(U, V)``, natural logarithms, of NumPy or of torch on the CPU.

        Returns:
            At least one hypothesis, the best first.
        """


class GreedyDecoder:
    """The best token of every frame."""

    name = "greedy"
    nbest = 1
    batch_size = 1

    def decode_batch(self, log_probs: Sequence[ArrayLike]) -> list[tuple[Hypothesis, ...]]:
        return [self.decode(rows) for rows in log_probs]

    def decode(self, log_probs: ArrayLike) -> tuple[Hypothesis, ...]:
        rows = np.asarray(log_probs)
        return tuple(greedy_decode(rows[None], [len(rows)]))


class BeamDecoder:
    """Beam search, then rescoring of its n-best list if there is something to rescore with.

    Args:
        search: finds the hypotheses.
        nbest: how many to give.
        rescorers: too slow or too large for the search itself; their scores are added to those of
            all hypotheses that the search holds at the end.
        name: what transcripts say of it.
    """

    batch_size = 1

    def __init__(
        self,
        search: Search[Any],
        *,
        nbest: int = 1,
        rescorers: Sequence[Rescorer] = (),
        name: str = "beam",
    ) -> None:
        self.search = search
        self.nbest = nbest
        self.rescorers = tuple(rescorers)
        self.name = name

    def decode(self, log_probs: ArrayLike) -> tuple[Hypothesis, ...]:
        wanted = self.search.pruning.beam_size if self.rescorers else self.nbest
        return self.finish(log_probs, self.search.decode(log_probs, wanted))

    def decode_batch(self, log_probs: Sequence[ArrayLike]) -> list[tuple[Hypothesis, ...]]:
        return [self.decode(rows) for rows in log_probs]

    def finish(self, log_probs: ArrayLike, found: list[Hypothesis]) -> tuple[Hypothesis, ...]:
        """Rescore what a search found, and put the best where their alignments have them.

        Args:
            log_probs: ``(U, V)``, natural logarithms.
            found: the best first.
        """
        for rescorer in self.rescorers:
            found = rescore(found, rescorer(found))
        return tuple(align_hypothesis(log_probs, each) for each in found[: self.nbest])


def rescore(hypotheses: Sequence[Hypothesis], scores: Sequence[float]) -> list[Hypothesis]:
    """Add scores to hypotheses and put the best first.

    Args:
        hypotheses: of one utterance.
        scores: of each, weighted natural logarithms.
    """
    rescored = [
        replace(each, scorer_score=each.scorer_score + score)
        for each, score in zip(hypotheses, scores, strict=True)
    ]
    return sorted(rescored, key=lambda each: each.score, reverse=True)
