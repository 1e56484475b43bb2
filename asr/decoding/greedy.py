"""Greedy decoding: the best token of every frame, repetitions and blanks removed."""

import torch
from torch import Tensor

from asr.decoding.hypothesis import Hypothesis
from asr.tokenizer import BLANK


def greedy_decode(log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
    """Take each frame's most probable token and collapse the path (Graves et al. 2006, eq. 4).

    Args:
        log_probs: ``(B, U, V)``, natural logarithms.
        lengths: ``(B,)``, int64, in encoder frames.

    Returns:
        One hypothesis for each utterance; its ``log_prob`` is that of the best single path.
    """
    best, path = log_probs.max(dim=-1)
    previous = torch.nn.functional.pad(path, (1, 0), value=BLANK)[:, :-1]
    starts = (path != BLANK) & (path != previous)
    hypotheses = []
    for row, length in enumerate(lengths.tolist()):
        frames = starts[row, :length].nonzero().squeeze(1)
        hypotheses.append(
            Hypothesis(
                tuple(path[row, frames].tolist()),
                tuple(frames.tolist()),
                float(best[row, :length].double().sum()),
            )
        )
    return hypotheses
