"""Tallies add up what the units of one layer and direction do, recording by recording."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.inspection.memory import Values, half_life_frames, halvings
from asr.inspection.trace import DIRECTIONS, UnitTrace

SHUT, OPEN = 0.05, 0.95


@dataclass
class _Sums:
    # Sums over some of the frames, for each unit.
    frames: int
    update: Values
    reset: Values
    halvings: Values
    moved_frames: int
    moved: Values

    @classmethod
    def empty(cls, units: int) -> "_Sums":
        update, reset, halvings, moved = np.zeros((4, units))
        return cls(0, update, reset, halvings, 0, moved)

    def add(
        self, trace: UnitTrace, faded: Values, moves: Values, chosen: NDArray[np.bool_]
    ) -> None:
        self.frames += int(chosen.sum())
        self.update += trace.update[chosen].sum(axis=0, dtype=np.float64)
        self.reset += trace.reset[chosen].sum(axis=0, dtype=np.float64)
        self.halvings += faded[chosen].sum(axis=0)
        known = chosen & np.isfinite(moves[:, 0])
        self.moved_frames += int(known.sum())
        self.moved += moves[known].sum(axis=0)


@dataclass
class CurveTally:
    """Sums of the update gates at frames before and after given ones.

    Attributes:
        reach: frames looked at on either side.
        units: number of units.
        onsets: how many frames were given.
    """

    reach: int
    units: int
    onsets: int = 0
    counts: NDArray[np.int64] = field(init=False)
    sums: Values = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(2 * self.reach + 1, dtype=np.int64)
        self.sums = np.zeros((2 * self.reach + 1, self.units))

    def add(self, update: NDArray[np.float32], onsets: list[int]) -> None:
        """Add what one recording ``(U, H)`` does around each onset, as far as it reaches."""
        self.onsets += len(onsets)
        for onset in onsets:
            first, stop = max(0, onset - self.reach), min(len(update), onset + self.reach + 1)
            rows = slice(first - onset + self.reach, stop - onset + self.reach)
            self.counts[rows] += 1
            self.sums[rows] += update[first:stop]

    def means(self) -> Values:
        """Give the mean update gate of each unit ``(2 * reach + 1, H)``; NaN without an onset."""
        return _ratio(self.sums, self.counts[:, None])


@dataclass
class UnitTally:
    """All that is added up over recordings for one layer and direction.

    Attributes:
        layer: its number, from 1.
        direction: ``"forward"`` or ``"backward"``.
        words: update gates around the onsets of words.
        starts: update gates around the starts of speech after a pause.
    """

    layer: int
    direction: str
    words: CurveTally
    starts: CurveTally

    def __post_init__(self) -> None:
        units = self.words.units
        self.speech, self.silence = _Sums.empty(units), _Sums.empty(units)
        self._state, self._squares = np.zeros(units), np.zeros(units)
        self._extremes = {key: np.zeros(units) for key in ("update", "reset")}

    def add(
        self, trace: UnitTrace, speech: NDArray[np.bool_], words: list[int], starts: list[int]
    ) -> None:
        """Add one recording.

        Args:
            trace: its units.
            speech: ``(U,)``, true in speech.
            words: encoder frames in which words start.
            starts: encoder frames in which speech starts after a pause.
        """
        faded, moves = halvings(trace.update), _moves(trace)
        self.speech.add(trace, faded, moves, speech)
        self.silence.add(trace, faded, moves, ~speech)
        state = trace.state.astype(np.float64)
        self._state += state.sum(axis=0)
        self._squares += np.square(state).sum(axis=0)
        for key, gate in (("update", trace.update), ("reset", trace.reset)):
            self._extremes[key] += ((gate < SHUT) | (gate > OPEN)).sum(axis=0)
        self.words.add(trace.update, words)
        self.starts.add(trace.update, starts)

    @property
    def frames(self) -> int:
        """Encoder frames added so far."""
        return self.speech.frames + self.silence.frames

    def mean_gate(self, gate: str, sums: _Sums) -> float:
        """Give the mean over units and frames; NaN without frames."""
        values: Values = getattr(sums, gate)
        return float(values.mean() / sums.frames) if sums.frames else math.nan

    def mean_move(self, sums: _Sums) -> float:
        """Give the mean change of a unit's state from frame to frame; NaN without frames."""
        return float(sums.moved.mean() / sums.moved_frames) if sums.moved_frames else math.nan

    def half_lives(self, *parts: _Sums) -> Values:
        """Give each unit's half-life over some of the frames ``(H,)``, in frames."""
        frames = sum(part.frames for part in parts)
        total: Values = np.sum([part.halvings for part in parts], axis=0)
        return half_life_frames(total / frames) if frames else np.full_like(total, np.nan)

    def deviations(self) -> Values:
        """Give the standard deviation of each unit's state ``(H,)``."""
        mean = self._state / max(1, self.frames)
        variance = self._squares / max(1, self.frames) - np.square(mean)
        return np.sqrt(np.maximum(variance, 0))

    def extreme_shares(self, gate: str) -> Values:
        """Give the share of frames in which each unit's gate is below 0.05 or above 0.95."""
        return self._extremes[gate] / max(1, self.frames)


def _moves(trace: UnitTrace) -> Values:
    """Give by how much each frame changes the state ``(U, H)``; NaN for the first one read."""
    moves = np.full(trace.state.shape, np.nan)
    steps = np.abs(np.diff(trace.state.astype(np.float64), axis=0))
    if trace.direction == DIRECTIONS[0]:
        moves[1:] = steps
    else:
        moves[:-1] = steps
    return moves


def _ratio(sums: Values, counts: NDArray[np.int64]) -> Values:
    with np.errstate(invalid="ignore"):
        ratio: Values = sums / counts
    return ratio
