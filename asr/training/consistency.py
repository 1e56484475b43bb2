"""Consistency regularisation: two augmented views of an utterance have to agree (CR-CTC)."""

import torch
from torch import Tensor, nn

from asr.augment import SpecAugment
from asr.errors import ConfigError
from asr.padding import length_mask


class Consistency(nn.Module):
    """The distance between the frame-wise distributions of two views of the same utterances.

    Each view learns from the other, which is held fixed: it smooths the peaks of CTC and teaches to
    tell masked stretches from their surroundings. Source: CR-CTC (Yao et al. 2024,
    arXiv 2410.05101), there called L_CR.

    Args:
        scale: weight of this loss beside CTC's, alpha in the paper.
        time_mask_factor: how many times more time masks each view gets than without this loss.

    Raises:
        ConfigError: a scale that is not above 0, or a factor below 1.
    """

    def __init__(self, scale: float = 0.2, time_mask_factor: float = 2.5) -> None:
        super().__init__()
        if not 0 < scale < float("inf"):
            raise ConfigError(f"auxiliary.consistency.scale is {scale}; expected above 0")
        if not 1 <= time_mask_factor < float("inf"):
            raise ConfigError(
                f"auxiliary.consistency.time_mask_factor is {time_mask_factor}; expected 1 or more"
            )
        self.scale = scale
        self.time_mask_factor = time_mask_factor

    def strengthen(self, masks: SpecAugment) -> None:
        """Give an augmentation the larger number of time masks that two views are made for."""
        masks.time_masks = int(masks.time_masks * self.time_mask_factor)

    def forward(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Measure how far the two views of each utterance are apart.

        Args:
            log_probs: ``(2B, U, V)``, natural log-probabilities: the first views of all utterances,
                then the second ones in the same order.
            lengths: ``(2B,)``, int64, in frames.

        Returns:
            ``(2B,)`` float32: row b is the Kullback-Leibler divergence of its own view from the
            other one, which gets no gradient, in nats, summed over the utterance's frames. The mean
            of both rows of an utterance is the paper's loss.
        """
        with torch.autocast(log_probs.device.type, enabled=False):
            own = log_probs.float()
            other = own.detach().roll(len(own) // 2, dims=0)
            divergence = (other.exp() * (other - own)).sum(dim=2)
            return (divergence * length_mask(lengths, own.shape[1])).sum(dim=1)
