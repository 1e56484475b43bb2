"""What a beam search leaves out: unlikely tokens of a frame, unlikely hypotheses, sure blanks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import UsageError
from asr.tokenizer import BLANK


@dataclass(frozen=True)
class Pruning:
    """How narrow a beam search is; the same rules hold for every implementation.

    In each frame a token is possible if it is not ``token_threshold`` below the frame's likeliest
    one; the blank is always possible. A frame whose blank is more probable than
    ``blank_threshold`` holds nothing but the blank: of a run of them the first one ends open
    repetitions, and the others change nothing.

    Attributes:
        beam_size: hypotheses that are kept after each frame.
        token_threshold: difference of natural logarithms.
        beam_threshold: hypotheses that score this much less than the best are dropped, natural
            logarithm.
        blank_threshold: probability; 1 leaves no frame out.

    Raises:
        UsageError: a value that leaves nothing.
    """

    beam_size: int = 16
    token_threshold: float = 8.0
    beam_threshold: float = 16.0
    blank_threshold: float = 0.999

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise UsageError(f"the beam size is {self.beam_size}; expected 1 or more")
        for name in ("token_threshold", "beam_threshold"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; expected a logarithm's difference above 0"
                )
        if not 0.5 <= self.blank_threshold <= 1:
            raise UsageError(
                f"blank_threshold is {self.blank_threshold}; expected a probability, 0.5 to 1"
            )


DEFAULT_PRUNING = Pruning()
NO_PRUNING = Pruning(
    beam_size=1_000_000, token_threshold=math.inf, beam_threshold=math.inf, blank_threshold=1.0
)


@dataclass(frozen=True)
class PossibleTokens:
    """What a pruning leaves of a stretch of frames, in flat arrays.

    Attributes:
        sure: of each frame, whether it holds nothing but the blank.
        blanks: of each frame, the blank's probability.
        starts: the tokens of frame ``u`` stand from ``starts[u]`` to ``starts[u + 1]``.
        tokens: ids, the likeliest of a frame first.
        chances: their probabilities.
        log_scale: natural logarithm of the probability of all sure blanks together.
    """

    sure: NDArray[np.bool_]
    blanks: NDArray[np.float64]
    starts: NDArray[np.int64]
    tokens: NDArray[np.int64]
    chances: NDArray[np.float64]
    log_scale: float


def possible_tokens(log_probs: NDArray[np.float32], pruning: Pruning) -> PossibleTokens:
    """Leave out what a pruning rules out before the search.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        pruning: its thresholds of tokens and blanks.

    Raises:
        ValueError: a value is not a number.
    """
    blanks = log_probs[:, BLANK].astype(np.float64)
    sure = blanks > math.log(pruning.blank_threshold)
    rows = np.flatnonzero(~sure)
    kept = log_probs if len(rows) == len(log_probs) else log_probs[rows]
    best = kept.max(1, initial=-np.inf)
    if np.isnan(best).any():
        raise ValueError("log_probs hold NaN; expected natural logarithms of probabilities")
    possible = kept >= best[:, None] - pruning.token_threshold
    possible[:, BLANK] = False
    places, tokens = np.nonzero(possible)
    chances = np.exp(kept[places, tokens].astype(np.float64))
    order = np.lexsort((-chances, places))
    counts = np.zeros(len(log_probs) + 1, np.int64)
    counts[1:][rows] = np.bincount(places, minlength=len(rows))
    return PossibleTokens(
        sure=sure,
        blanks=np.exp(blanks),
        starts=np.cumsum(counts),
        tokens=tokens[order],
        chances=chances[order],
        log_scale=float(blanks[sure].sum()),
    )
