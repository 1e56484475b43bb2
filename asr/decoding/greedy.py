"""Greedy decoding: the best token of every frame, repetitions and blanks removed."""

import numpy as np
from numpy.typing import ArrayLike

from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK


def greedy_decode(log_probs: ArrayLike, lengths: ArrayLike) -> list[Hypothesis]:
    """Take each frame's most probable token and collapse the path (Graves et al. 2006, eq. 4).

    Args:
        log_probs: ``(B, U, V)``, natural logarithms, of NumPy or of torch on the CPU.
        lengths: ``(B,)``, int64, in encoder frames.

    Returns:
        One hypothesis for each utterance; its ``log_prob`` is that of the best single path.
    """
    rows = np.asarray(log_probs)
    path = rows.argmax(-1)
    best = np.take_along_axis(rows, path[..., None], -1)[..., 0]
    starts = path != BLANK
    starts[:, 1:] &= path[:, 1:] != path[:, :-1]
    hypotheses = []
    for row, length in enumerate(np.asarray(lengths).tolist()):
        frames = np.flatnonzero(starts[row, :length])
        hypotheses.append(
            Hypothesis(
                tuple(path[row, frames].tolist()),
                tuple(frames.tolist()),
                float(best[row, :length].sum(dtype=np.float64)),
            )
        )
    return hypotheses
