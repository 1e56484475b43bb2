"""Forced alignment as machine code: ``asr.decoding.align`` finds the same."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.decoding.compiled.jit import compiled, integer, real
from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK

Array = NDArray[Any]

_NEVER = -np.inf


def align_hypothesis(log_probs: ArrayLike, hypothesis: Hypothesis) -> Hypothesis:
    """Put a hypothesis' tokens where its likeliest alignment has them.

    Args:
        log_probs: ``(U, V)``, natural logarithms, in which a decoder found it.
        hypothesis: of any decoder.
    """
    rows = np.ascontiguousarray(log_probs)
    count = len(hypothesis.tokens)
    tokens, frames = np.array(hypothesis.tokens, np.int64), np.zeros(count, np.int64)
    best = np.full(2 * count + 1, _NEVER)
    steps = np.empty((len(rows), len(best)), np.int8)
    if not walk(rows, tokens, best, steps, frames):
        return hypothesis
    return replace(hypothesis, frames=tuple(frames.tolist()))


@compiled
def walk(log_probs: Array, tokens: Array, best: Array, steps: Array, frames: Array) -> bool:
    """Write the first frame of every token; tell whether there is an alignment.

    States are blank, first token, blank, second token, and so on, blank.

    Args:
        log_probs: ``(U, V)``.
        tokens: L token ids.
        best: work space (2 L + 1,), all ``-inf``.
        steps: work space (U, 2 L + 1).
        frames: written (L,).
    """
    best[0] = 0.0
    for frame in range(len(log_probs)):
        # From behind, since a state comes from those before it.
        for state in range(len(best) - 1, -1, -1):
            token = tokens[state // 2] if state % 2 else BLANK
            reached, step = best[state], 0
            if state >= 1 and best[state - 1] > reached:
                reached, step = best[state - 1], 1
            # A token may follow another one directly, unless they are the same.
            direct = state >= 3 and state % 2 and tokens[state // 2 - 1] != token
            if direct and best[state - 2] > reached:
                reached, step = best[state - 2], 2
            best[state] = reached + real(log_probs[frame, token])
            steps[frame, state] = step
    # The path ends in the last blank or in the last token.
    state = len(best) - 1
    if state > 0 and best[state - 1] > best[state]:
        state -= 1
    if best[state] == _NEVER:
        return False
    for frame in range(len(log_probs) - 1, -1, -1):
        if state % 2:
            frames[state // 2] = frame
        state -= integer(steps[frame, state])
    return True
