"""Sequences of unequal length as one padded batch with integer lengths, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_sequences(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put sequences under each other, zeros behind the shorter ones.

    Args:
        sequences: B tensors ``(length_b, ...)`` that differ in their first dimension only.

    Returns:
        The batch ``(B, longest, ...)`` and the lengths ``(B,)``, int64.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Tell the real positions of a padded batch from the padding.

    Args:
        lengths: real lengths ``(B,)``, int64.
        size: the padded length.

    Returns:
        ``(B, size)``, True where the position is real.
    """
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def mask_padding(batch: Tensor, lengths: Tensor) -> Tensor:
    """Set everything behind each sequence's end to zero.

    Args:
        batch: ``(B, N, ...)``.
        lengths: real lengths along N ``(B,)``, int64.

    Returns:
        A new tensor of the same shape; padding that held NaN is zero as well.
    """
    mask = length_mask(lengths, batch.shape[1])
    mask = mask.reshape(*mask.shape, *[1] * (batch.dim() - 2))
    return batch.masked_fill(~mask, 0.0)
