"""Forced alignment: the likeliest way in which given tokens lie in the frames (Viterbi)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK


@dataclass(frozen=True)
class Alignment:
    """Where the tokens of one utterance lie.

    Attributes:
        tokens: L token ids, as they were given.
        first_frames: the first encoder frame of each.
        last_frames: the last encoder frame of each.
        log_prob: natural logarithm of the probability of this path, its blanks included.
    """

    tokens: tuple[int, ...]
    first_frames: tuple[int, ...]
    last_frames: tuple[int, ...]
    log_prob: float


def align(log_probs: ArrayLike, tokens: Sequence[int]) -> Alignment | None:
    """Align one utterance: states are blank, first token, blank, second token, and so on, blank.

    Args:
        log_probs: ``(U, V)``, natural logarithms, of NumPy or of torch on the CPU.
        tokens: L token ids, none of them the blank.

    Returns:
        The likeliest alignment, or None where there is none: too few frames, or all have
        probability 0.

    Source:
        Graves et al. 2006, section 4.1, with the maximum in place of the sum.
    """
    rows = np.asarray(log_probs)
    labels = np.full(2 * len(tokens) + 1, BLANK)
    labels[1::2] = tokens
    best, steps = _walk(rows, labels)
    # The path ends in the last blank or in the last token.
    state = len(labels) - 1
    if state and best[state - 1] > best[state]:
        state -= 1
    log_prob = float(best[state])
    if log_prob == -np.inf:
        return None
    path = []
    for step in steps[::-1]:
        path.append(int(labels[state]))
        state -= int(step[state])
    return Alignment(tuple(tokens), *token_frames(path[::-1]), log_prob)


def _walk(
    log_probs: NDArray[Any], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Give each state's best log-probability (2 L + 1,) and how far back each frame's came from."""
    size = len(labels)
    # A token may follow another one directly, unless they are the same.
    skips = np.full(size, -np.inf)
    skips[2:][(labels[2:] != BLANK) & (labels[2:] != labels[:-2])] = 0.0
    # Two states that nothing reaches stand before the first, so that every state has two before it.
    padded = np.full(size + 2, -np.inf)
    best, one_back, two_back = padded[2:], padded[1:-1], padded[:-2]
    best[0] = 0.0
    steps = np.zeros((len(log_probs), size), np.int8)
    reached, skipped, later = np.empty(size), np.empty(size), np.empty(size, bool)
    for frame, step in zip(log_probs, steps, strict=True):
        np.greater(one_back, best, later)
        step[later] = 1
        np.maximum(best, one_back, out=reached)
        np.add(two_back, skips, skipped)
        np.greater(skipped, reached, later)
        step[later] = 2
        np.maximum(reached, skipped, out=reached)
        np.add(reached, frame[labels], best)
    return best, steps


def align_hypothesis(log_probs: ArrayLike, hypothesis: Hypothesis) -> Hypothesis:
    """Put a hypothesis' tokens where its likeliest alignment has them.

    Args:
        log_probs: ``(U, V)``, natural logarithms, in which a decoder found it.
        hypothesis: of any decoder.
    """
    alignment = align(log_probs, hypothesis.tokens)
    return hypothesis if alignment is None else replace(hypothesis, frames=alignment.first_frames)


def token_frames(path: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the first and the last frame of each token of a path, which has one for each frame."""
    firsts: list[int] = []
    lasts: list[int] = []
    previous = BLANK
    for frame, token in enumerate(path):
        if token != BLANK:
            if token == previous:
                lasts[-1] = frame
            else:
                firsts.append(frame)
                lasts.append(frame)
        previous = token
    return tuple(firsts), tuple(lasts)
