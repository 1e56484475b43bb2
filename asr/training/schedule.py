"""The learning rate over training."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The learning rate over training: linear warm-up, then half a cosine (Loshchilov 2017).

    Attributes:
        lr: the highest learning rate.
        warmup_steps: optimizer steps to reach it.
        final_ratio: share of it that is left at the end.
    """

    lr: float
    warmup_steps: int
    final_ratio: float

    def at(self, step: int, progress: float) -> float:
        """Give the learning rate.

        Args:
            step: optimizer steps taken so far.
            progress: share of the whole training that is done, in [0, 1].
        """
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.lr * warmup * (self.final_ratio + (1 - self.final_ratio) * cosine)
