"""Label smoothing for CTC: distributions of frames are kept from becoming too sure."""

import math

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.padding import length_mask
from asr.tokenizer import BLANK


class Smoothing(nn.Module):
    """The distance of each frame's distribution from the uniform one, and how often it is blank.

    Source: Kim et al. 2018, arXiv 1711.02212, which smooths CTC so; the direction of the divergence
    and its sum over frames are those of ``kldiv_lsm_ctc`` in neural_sp.

    Args:
        weight: share of the distance in the whole; the tokens' loss has the rest.
        blank_penalty: what each frame's probability of the blank costs besides, in nats.

    Raises:
        ConfigError: a weight outside [0, 1), a penalty below 0, or both 0.
    """

    def __init__(self, weight: float = 0.05, blank_penalty: float = 0.0) -> None:
        super().__init__()
        if not 0 <= weight < 1 or not 0 <= blank_penalty < math.inf or weight == blank_penalty == 0:
            raise ConfigError(
                f"auxiliary.smoothing.weight is {weight} and blank_penalty is {blank_penalty}; "
                "expected a share in [0, 1) and 0 or more, not both 0"
            )
        self.weight = weight
        self.blank_penalty = blank_penalty

    def forward(self, losses: Tensor, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Mix the losses of utterances with how sure their frames are.

        Args:
            losses: ``(B,)``, the tokens'.
            log_probs: ``(B, U, V)``, natural log-probabilities.
            lengths: ``(B,)``, int64, in frames.

        Returns:
            ``(B,)`` float32: distances and blanks are summed over an utterance's frames.
        """
        with torch.autocast(log_probs.device.type, enabled=False):
            own = log_probs.float()
            # KL(P || uniform) = log V - H(P).
            distance = (own.exp() * own).sum(dim=2) + math.log(own.shape[2])
            cost = self.weight * distance + self.blank_penalty * own[..., BLANK].exp()
            cost = (cost * length_mask(lengths, own.shape[1])).sum(dim=1)
            return (1 - self.weight) * losses + cost
