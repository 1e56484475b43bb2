"""Sentences of a language model's training text as padded batches, shuffled anew in each epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.lm.gru import BOUNDARY

# What no loss is computed for.
PADDING = -100
# Batches of a pool whose sentences are sorted by length: little padding, and still shuffled.
_POOL = 50


class Sentences:
    """Encoded sentences, kept as one array of numbers.

    Args:
        encoded: the ids of each sentence.
    """

    def __init__(self, encoded: Sequence[Sequence[int]]) -> None:
        lengths = [len(ids) for ids in encoded]
        self.offsets = np.cumsum([0, *lengths])
        self.ids = np.fromiter((i for ids in encoded for i in ids), np.int32, sum(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def items(self) -> int:
        """What is to be predicted: all items and an end for each sentence."""
        return len(self.ids) + len(self)

    def batches(self, batch_items: int, shuffle: tuple[int, int] | None) -> list[NDArray[np.int64]]:
        """Deal the sentences out.

        Args:
            batch_items: items of a batch at most, padding included, one sentence at least.
            shuffle: seed and epoch, or None: always the same, sorted by length.

        Returns:
            The sentences of each batch.
        """
        lengths = np.diff(self.offsets) + 1
        if shuffle is None:
            return list(_cut(np.argsort(lengths, kind="stable"), lengths, batch_items))
        rng = np.random.default_rng(shuffle)
        order = rng.permutation(len(self))
        found: list[NDArray[np.int64]] = []
        mean = max(1.0, float(lengths.mean()))
        pool = max(1, int(_POOL * batch_items / mean))
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(lengths[part], kind="stable")]
            found += _cut(part, lengths, batch_items)
        return [found[i] for i in rng.permutation(len(found))]

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Give inputs and targets (B, L) of some sentences; targets are padded with ``PADDING``."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        width = int(lengths.max()) + 1
        inputs = np.full((len(rows), width), BOUNDARY, np.int64)
        targets = np.full((len(rows), width), PADDING, np.int64)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids = self.ids[self.offsets[row] : self.offsets[row + 1]]
            inputs[place, 1 : 1 + length] = ids
            targets[place, :length] = ids
            targets[place, length] = BOUNDARY
        return torch.from_numpy(inputs), torch.from_numpy(targets)


def _cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_items: int
) -> Iterator[NDArray[np.int64]]:
    # Lengths rise along the order, so the last sentence decides the padded size.
    start = 0
    for place in range(1, len(order) + 1):
        full = place == len(order) or (place + 1 - start) * lengths[order[place]] > batch_items
        if full:
            yield order[start:place]
            start = place
