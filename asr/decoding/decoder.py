"""A decoder is what a recognizer holds: log-probabilities in, the best hypotheses out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from asr.decoding.align import align_hypothesis
from asr.decoding.beam import BeamSearch
from asr.decoding.greedy import greedy_decode
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.scorer import Scorer, ScorerSum, score_tokens

# An n-gram that rescores needs something to choose from.
RESCORED = 32


class Decoder(Protocol):
    """Turns the log-probabilities of one utterance into hypotheses."""

    name: str

    def decode(self, log_probs: Tensor) -> tuple[Hypothesis, ...]:
        """Decode one utterance.

        Args:
            log_probs: ``(U, V)``, natural logarithms.

        Returns:
            At least one hypothesis, the best first.
        """


class GreedyDecoder:
    """The best token of every frame."""

    name = "greedy"

    def decode(self, log_probs: Tensor) -> tuple[Hypothesis, ...]:
        return tuple(greedy_decode(log_probs.unsqueeze(0), torch.tensor([len(log_probs)])))


class BeamDecoder:
    """Beam search, then rescoring of its n-best list if there is something to rescore with.

    Args:
        search: finds the hypotheses.
        nbest: how many to give.
        rescorers: too slow or too large for the search itself; their scores are added to those of
            the ``RESCORED`` best hypotheses.
        name: what transcripts say of it.
    """

    def __init__(
        self,
        search: BeamSearch,
        *,
        nbest: int = 1,
        rescorers: Sequence[Scorer[Any]] = (),
        name: str = "beam",
    ) -> None:
        self.search = search
        self.nbest = nbest
        self.rescorer = ScorerSum(rescorers) if rescorers else None
        self.name = name

    def decode(self, log_probs: Tensor) -> tuple[Hypothesis, ...]:
        wanted = self.nbest if self.rescorer is None else max(RESCORED, self.nbest)
        found = self.search.decode(log_probs, wanted)
        if self.rescorer is not None:
            found = rescore(found, self.rescorer)
        return tuple(align_hypothesis(log_probs, each) for each in found[: self.nbest])


def rescore(hypotheses: Sequence[Hypothesis], scorer: Scorer[Any]) -> list[Hypothesis]:
    """Add a scorer's scores to hypotheses and put the best first.

    Args:
        hypotheses: of one utterance.
        scorer: scores each as a whole.
    """
    rescored = [
        replace(each, scorer_score=each.scorer_score + score_tokens(scorer, each.tokens))
        for each in hypotheses
    ]
    return sorted(rescored, key=lambda each: each.score, reverse=True)
