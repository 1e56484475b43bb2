"""Posteriors: which tokens of CTC are worth drawing, and where each stands out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.inspection.loudness import stretches
from asr.tokenizer import BLANK

# A token that never gets this much probability is not drawn.
LEAST_PROBABILITY = 0.1


@dataclass(frozen=True)
class Peak:
    """A token of the best path where its probability is highest.

    Attributes:
        token: its id.
        frame: the encoder frame.
        probability: its probability there.
    """

    token: int
    frame: int
    probability: float


def shown_tokens(probabilities: NDArray[np.float32]) -> list[int]:
    """List the tokens, without the blank, that get a probability of 0.1 somewhere.

    Args:
        probabilities: ``(U, V)``.

    Returns:
        Their ids in the order in which they first get it, so that neighbours can differ in colour.
    """
    above = probabilities >= LEAST_PROBABILITY
    above[:, BLANK] = False
    ids = np.flatnonzero(above.any(axis=0))
    firsts = above[:, ids].argmax(axis=0)
    return [int(token) for token in ids[np.argsort(firsts, kind="stable")]]


def find_peaks(probabilities: NDArray[np.float32]) -> list[Peak]:
    """List the tokens of the best path, each at its most probable frame.

    Args:
        probabilities: ``(U, V)``.
    """
    path = probabilities.argmax(axis=1)
    peaks = []
    for token in np.unique(path[path != BLANK]):
        for first, stop in stretches(path == token):
            frame = first + int(probabilities[first:stop, token].argmax())
            peaks.append(Peak(int(token), frame, float(probabilities[frame, token])))
    return sorted(peaks, key=lambda peak: peak.frame)
