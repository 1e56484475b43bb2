"""Leaves out what a pruning rules out before the search: ``asr.decoding.pruning`` compiled."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.compiled.jit import compiled, real
from asr.decoding.pruning import Pruning
from asr.tokenizer import BLANK

Array = NDArray[Any]


class Frames(NamedTuple):
    """Frames and their possible tokens, as in ``asr.decoding.pruning.PossibleTokens``."""

    sure: Array
    blanks: Array
    starts: Array
    tokens: Array
    chances: Array


def possible_frames(log_probs: Array, pruning: Pruning) -> tuple[Frames, float]:
    """Find the possible tokens of every frame.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        pruning: its thresholds of tokens and blanks.

    Returns:
        The frames, and the logarithm of the probability of all sure blanks together.

    Raises:
        ValueError: a value is not a number.
    """
    rows = np.ascontiguousarray(log_probs)
    length = len(rows)
    frames = Frames(
        np.zeros(length, np.bool_),
        np.zeros(length),
        np.zeros(length + 1, np.int64),
        np.empty(rows.size, np.int64),
        np.empty(rows.size),
    )
    threshold = rows.dtype.type(pruning.token_threshold)
    log_scale = find_possible(rows, threshold, math.log(pruning.blank_threshold), frames)
    if math.isnan(log_scale):
        raise ValueError("log_probs hold NaN; expected natural logarithms of probabilities")
    return frames, log_scale


@compiled
def find_possible(log_probs: Array, threshold: float, sure_blank: float, frames: Frames) -> float:
    """Write the frames; give what sure blanks multiply all by, NaN where a value is none."""
    count, log_scale = 0, 0.0
    for index in range(len(log_probs)):
        row = log_probs[index]
        frames.starts[index] = count
        blank = real(row[BLANK])
        frames.blanks[index] = math.exp(blank)
        if blank > sure_blank:
            frames.sure[index] = True
            log_scale += blank
            continue
        best = row[0]
        for value in row:
            if value != value:
                return math.nan
            best = max(best, value)
        first, least = count, best - threshold
        for token in range(1, len(row)):
            if row[token] < least:
                continue
            # The likeliest first; equals in the order of ids.
            chance, place = math.exp(real(row[token])), count
            while place > first and frames.chances[place - 1] < chance:
                frames.tokens[place] = frames.tokens[place - 1]
                frames.chances[place] = frames.chances[place - 1]
                place -= 1
            frames.tokens[place], frames.chances[place] = token, chance
            count += 1
    frames.starts[len(log_probs)] = count
    return log_scale
