"""Connectionist temporal classification (Graves et al. 2006): loss and feasibility."""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.tokenizer import BLANK


@dataclass(frozen=True)
class CTCLoss:
    """Losses of a batch.

    Attributes:
        losses: ``(B,)`` float32, minus the natural logarithm of each transcript's probability, 0
            where no alignment exists.
        feasible: ``(B,)`` bool, whether an alignment exists.
    """

    losses: Tensor
    feasible: Tensor


def required_frames(tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Count the frames that an alignment needs: one a token and a blank between equal neighbours.

    Args:
        tokens: ``(B, L)``, int64.
        token_lengths: ``(B,)``, int64.

    Returns:
        ``(B,)``, int64, in encoder frames.
    """
    repeats = tokens[:, 1:] == tokens[:, :-1]
    inside = torch.arange(1, max(1, tokens.shape[1]), device=tokens.device)
    return token_lengths + (repeats & (inside < token_lengths.unsqueeze(1))).sum(dim=1)


def ctc_loss(
    log_probs: Tensor, frame_lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> CTCLoss:
    """Compute each utterance's CTC loss in float32.

    Args:
        log_probs: ``(B, U, V)``, natural logarithms of probabilities.
        frame_lengths: ``(B,)``, int64, in encoder frames.
        tokens: ``(B, L)``, int64, none of them the blank within a transcript.
        token_lengths: ``(B,)``, int64.

    Returns:
        The losses, and which utterances have an alignment at all; the others have loss 0 and no
        gradient, and the caller counts and names them.
    """
    feasible = required_frames(tokens, token_lengths) <= frame_lengths
    with torch.autocast(log_probs.device.type, enabled=False):
        losses = torch.nn.functional.ctc_loss(
            log_probs.float().transpose(0, 1),
            tokens,
            frame_lengths,
            token_lengths,
            blank=BLANK,
            reduction="none",
            # Its zeros fall exactly on what `feasible` reports.
            zero_infinity=True,
        )
    return CTCLoss(torch.where(feasible, losses, 0.0), feasible)
