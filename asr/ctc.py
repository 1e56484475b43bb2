"""Connectionist temporal classification (Graves et al. 2006): loss and feasibility."""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.padding import mask_padding
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


def guided_ctc_loss(
    log_probs: Tensor,
    frame_lengths: Tensor,
    tokens: Tensor,
    token_lengths: Tensor,
    offsets: Tensor,
) -> tuple[CTCLoss, Tensor]:
    """Compute CTC losses where it is known beforehand which frames suit which tokens.

    Args:
        log_probs: ``(B, U, V)``, natural logarithms of probabilities.
        frame_lengths: as for ``ctc_loss``.
        tokens: as for ``ctc_loss``.
        token_lengths: as for ``ctc_loss``.
        offsets: ``(B, U, V)``, finite, added to ``log_probs``; they get no gradient.

    Returns:
        The losses, of which ``log_probs`` get the exact gradient though their sums with offsets are
        no distributions; and how likely each frame stands for each token in an alignment with the
        transcript, ``(B, U, V)``: the frames of an utterance sum to 1, padding and utterances that
        have no alignment are 0.

    Source:
        Graves et al. 2006, equations 14 and 15: minus these probabilities are the derivative of the
        loss by the logarithms.
    """
    with torch.autocast(log_probs.device.type, enabled=False), torch.enable_grad():
        scores = (log_probs.detach().float() + offsets).requires_grad_()
        found = ctc_loss(scores, frame_lengths, tokens, token_lengths)
        (gradient,) = torch.autograd.grad(found.losses.sum(), scores)
    # PyTorch gives the derivative by what went into a softmax: probability less occupancy.
    occupancy = (scores.detach().exp() - gradient).clamp(0.0, 1.0)
    occupancy = mask_padding(occupancy, frame_lengths) * found.feasible.reshape(-1, 1, 1)
    derivative = -(occupancy * log_probs).sum(dim=(1, 2))
    losses = found.losses.detach() + derivative - derivative.detach()
    return CTCLoss(losses, found.feasible), occupancy
