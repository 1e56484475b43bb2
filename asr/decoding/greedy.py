"""Greedy decoding: the best token of every frame, repetitions and blanks removed."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK


@dataclass(frozen=True)
class _Run:
    """Neighbouring frames that one token wins.

    Attributes:
        token: its id.
        first: the frame in which they begin.
        end: the frame behind them.
        probability: the highest of the token's.
    """

    token: int
    first: int
    end: int
    probability: float


def greedy_decode(
    log_probs: ArrayLike, lengths: ArrayLike, rivals_below: float = 0.0
) -> list[Hypothesis]:
    """Take each frame's most probable token and collapse the path (Graves et al. 2006, eq. 4).

    Args:
        log_probs: ``(B, U, V)``, natural logarithms, of NumPy or of torch on the CPU.
        lengths: ``(B,)``, int64, in encoder frames.
        rivals_below: two tokens that win frames next to each other are one, the more probable,
            where their probabilities add up to less than this. They add up to how many tokens the
            model expects there: 1.5 rounds that to one or two. CTC takes frames for independent of
            each other, so that a model in doubt between B and D can have each win a frame. 0 leaves
            the path as it is.

    Returns:
        One hypothesis for each utterance; its ``log_prob`` is that of the best single path, in
        which a token that gave way is blank.
    """
    rows = np.asarray(log_probs)
    path = rows.argmax(-1)
    hypotheses = []
    for row, length in enumerate(np.asarray(lengths).tolist()):
        best = path[row, :length].copy()
        if rivals_below > 0:
            _settle_rivals(best, rows[row], rivals_below)
        starts = best != BLANK
        starts[1:] &= best[1:] != best[:-1]
        frames = np.flatnonzero(starts)
        chosen = np.take_along_axis(rows[row, :length], best[:, None], -1)
        hypotheses.append(
            Hypothesis(
                tuple(best[frames].tolist()),
                tuple(frames.tolist()),
                float(chosen.sum(dtype=np.float64)),
            )
        )
    return hypotheses


def _settle_rivals(path: NDArray[np.int64], log_probs: NDArray[np.floating], below: float) -> None:
    """Make blank in ``path`` what gives way to a neighbour."""
    close: list[_Run] = []
    for run in _runs(path, log_probs):
        if close and close[-1].end != run.first:
            _settle(path, close, below)
            close = []
        close.append(run)
    _settle(path, close, below)


def _settle(path: NDArray[np.int64], runs: list[_Run], below: float) -> None:
    """Settle runs without a blank between them, the pair with the smallest sum first."""
    while True:
        sums = [
            (one.probability + other.probability, index)
            for index, (one, other) in enumerate(pairwise(runs))
            if one.end == other.first
        ]
        smallest, index = min(sums, default=(below, -1))
        if smallest >= below:
            return
        gone = runs.pop(index + (runs[index].probability >= runs[index + 1].probability))
        path[gone.first : gone.end] = BLANK


def _runs(path: NDArray[np.int64], log_probs: NDArray[np.floating]) -> list[_Run]:
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    return [
        _Run(token, first, end, float(np.exp(log_probs[first:end, token].max())))
        for first, end in pairwise(edges.tolist())
        if (token := int(path[first])) != BLANK
    ]
