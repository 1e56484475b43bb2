"""Memory: how long a unit keeps its state, as its update gate implies."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# The share of 1 below which 1 − z cannot be told from 0 in float32.
_LEAST_KEPT = 1e-7


def halvings(update: NDArray[np.floating]) -> Values:
    """Tell how often each frame halves the old state: −log2(1 − z), at most once.

    The limit is there because what is gone cannot fade any further: a gate that is shut but for
    one frame in twenty, where it opens wide, has a memory of twenty frames.
    """
    kept = np.maximum(1 - update.astype(np.float64), _LEAST_KEPT)
    counts: Values = np.minimum(-np.log2(kept), 1.0)
    return counts


def half_life_frames(mean_halvings: Values) -> Values:
    """Tell after how many frames half of a state is left, from the mean of ``halvings``.

    This is the memory span that the update gate implies, since a state fades to ∏(1 − z). What the
    candidate takes from the old state, and so may keep alive for longer, is left out.

    Returns:
        Frames, 1 at least; infinite for a gate that never opens.
    """
    with np.errstate(divide="ignore"):
        frames: Values = 1 / np.maximum(mean_halvings, 0.0)
    return frames
