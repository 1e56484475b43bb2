"""The normalisation of a recording whose log-mel features come in blocks, in any array library."""

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr.mel import MIN_STANDARD_DEVIATION, TYPICAL_STANDARD_DEVIATION

Frames = TypeVar("Frames", bound=Any)
Array = NDArray[Any]


class BlockNormalization(ABC, Generic[Frames]):
    """What normalises blocks of frames once all of them were seen.

    It gives what ``asr.features.LogMel.normalized`` gives for the whole, up to rounding. So all
    blocks are added before the first is normalised, and where there is a floor twice, see
    ``again``.

    Args:
        normalize: as for ``LogMel``.
        floor: ``(F,)``, as ``asr.mel.floor_shape`` gives it; None: there is no floor.
    """

    def __init__(self, normalize: str, floor: Array | None = None) -> None:
        self.normalize = normalize
        self.frames = 0
        self._shape = floor
        self._floor: Array | None = None
        self._total_power = 0.0
        self._first: Frames | None = None
        self._sums: Array = np.zeros((2, 1))

    def add(self, log_mel: Frames) -> None:
        """Take the next frames ``(T, F)`` into account."""
        if not len(log_mel):
            return
        self.frames += len(log_mel)
        if self._shape is not None:
            self._total_power += self._power(log_mel)
            return
        log_mel = self._floored(log_mel)
        if self._first is None:
            self._first = self._copy(log_mel[:1])
        # Within a block float32 is exact enough, over hours it is not.
        self._sums = self._sums + self._moments(log_mel - self._first)

    def again(self) -> Self | None:
        """Give what all blocks have to be added to once more, and what then normalises them.

        Returns:
            None where this one, to which they were added, normalises them.
        """
        if self._shape is None:
            return None
        finer = type(self)(self.normalize)
        if self.frames:
            finer._floor = self._shape + math.log(self._total_power / self.frames)
        return finer

    def apply(self, log_mel: Frames) -> Frames:
        """Normalise frames ``(T, F)`` of the recording whose blocks were added."""
        log_mel = self._floored(log_mel)
        if self.normalize == "none" or self._first is None:
            return log_mel
        mean, square = self._sums / self.frames
        if self.normalize == "mean":
            spread = np.full_like(mean, TYPICAL_STANDARD_DEVIATION)
        else:
            variance = np.maximum(square - np.square(mean), 0.0)
            spread = np.maximum(np.sqrt(variance), MIN_STANDARD_DEVIATION)
        centred: Frames = log_mel - self._first - self._like(mean, log_mel)
        normalized: Frames = centred / self._like(spread, log_mel)
        return normalized

    def _floored(self, log_mel: Frames) -> Frames:
        if self._floor is None:
            return log_mel
        return self._noisy(log_mel, self._like(self._floor, log_mel))

    @abstractmethod
    def _like(self, values: Array, frames: Frames) -> Frames:
        """Give values ``(F,)`` in float32, where the frames are."""

    @abstractmethod
    def _copy(self, frames: Frames) -> Frames:
        """Give frames that do not keep the block they are cut from."""

    @abstractmethod
    def _power(self, log_mel: Frames) -> float:
        """Sum the mel power of frames ``(T, F)``."""

    @abstractmethod
    def _moments(self, relative: Frames) -> Array:
        """Sum frames ``(T, F)`` and their squares over time, ``(2, F)`` in float64."""

    @abstractmethod
    def _noisy(self, log_mel: Frames, floor: Frames) -> Frames:
        """Add the power of a floor ``(F,)`` to frames ``(T, F)``; both are natural logarithms."""
