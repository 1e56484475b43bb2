"""Rivals: two tokens that compete for one place and would both be written.

CTC takes frames for independent of each other given the sound. A model that is in doubt between two
tokens may put one into one frame and the other into the next, each with more than half of the
probability; the path of both is then the best one, although either would be likelier alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK

# A natural logarithm that no sum of others makes likely again.
_IMPOSSIBLE = -100.0


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


class SettlingDecoder:
    """Settles rivals and hands the rest to another decoder.

    Args:
        decoder: searches what is left.
        below: see ``settle_rivals``; above 0.
    """

    def __init__(self, decoder: Decoder, below: float) -> None:
        self.decoder = decoder
        self.below = below
        self.name = f"{decoder.name}, rivals below {below:g}"
        self.nbest = decoder.nbest
        self.batch_size = decoder.batch_size

    def decode_batch(self, log_probs: Sequence[ArrayLike]) -> list[tuple[Hypothesis, ...]]:
        return self.decoder.decode_batch([settle_rivals(rows, self.below) for rows in log_probs])

    def decode(self, log_probs: ArrayLike) -> tuple[Hypothesis, ...]:
        return self.decoder.decode(settle_rivals(log_probs, self.below))


def settling(decoder: Decoder, below: float) -> Decoder:
    """Let a decoder find rivals settled, or leave it as it is where ``below`` is 0.

    Args:
        decoder: of any kind.
        below: see ``settle_rivals``.
    """
    return SettlingDecoder(decoder, below) if below > 0 else decoder


def settle_rivals(log_probs: ArrayLike, below: float) -> NDArray[np.floating]:
    """Let one of two tokens give way that win frames next to each other and are less than two.

    Their probabilities add up to how many of them the model expects there. Where that is less than
    ``below`` (1.5 rounds it to one or two), the less probable one gives way in the frames that it
    has won, and its probability there goes to blank. The pair with the smallest sum goes first.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        below: a sum of two probabilities; 0 changes nothing.

    Returns:
        ``(U, V)``, natural logarithms: the same array where nothing was to settle, else a new one.
    """
    rows = np.asarray(log_probs)
    close: list[_Run] = []
    gone: list[_Run] = []
    for run in _runs(rows) if below > 0 else ():
        if close and close[-1].end != run.first:
            gone += _settle(close, below)
            close = []
        close.append(run)
    gone += _settle(close, below)
    if not gone:
        return rows
    settled = rows.copy()
    for run in gone:
        frames = slice(run.first, run.end)
        settled[frames, BLANK] = np.logaddexp(rows[frames, BLANK], rows[frames, run.token])
        settled[frames, run.token] = _IMPOSSIBLE
    return settled


def _settle(runs: list[_Run], below: float) -> list[_Run]:
    """Take those out of runs without a blank between them that give way."""
    gone: list[_Run] = []
    while True:
        sums = [
            (one.probability + other.probability, index)
            for index, (one, other) in enumerate(pairwise(runs))
            if one.end == other.first
        ]
        smallest, index = min(sums, default=(below, -1))
        if smallest >= below:
            return gone
        gone.append(runs.pop(index + (runs[index].probability >= runs[index + 1].probability)))


def _runs(log_probs: NDArray[np.floating]) -> list[_Run]:
    path = log_probs.argmax(-1)
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    return [
        _Run(token, first, end, float(np.exp(log_probs[first:end, token].max())))
        for first, end in pairwise(edges.tolist())
        if (token := int(path[first])) != BLANK
    ]
