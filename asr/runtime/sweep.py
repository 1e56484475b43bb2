"""One direction of a layer over a long recording: many stretches side by side, exactly.

A recurrence is one long chain. Here it is cut into stretches which start from nothing, all at
once; then each is walked again from where the one before it has ended, until its state is what it
was the first time. From there on all that follows is the same too. A GRU forgets where it started
within a few seconds, so that little is computed twice, and where it does not forget, the walk goes
on: the result is that of the whole recording in any case.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr.runtime.engine import ROUNDING, Part

Frames = NDArray[np.float32]
# Frames that are walked again before states are compared.
_STEP = 24


class StretchSweep:
    """Runs one direction over a row of stretches.

    Args:
        part: the graph of the direction.
        backward: whether it reads from the end.
        tolerance: by how much states may differ and count as the same.
    """

    def __init__(self, part: Part, backward: bool, tolerance: float = ROUNDING) -> None:
        self._part = part
        self._backward = backward
        self._tolerance = tolerance

    def run(self, hidden: Frames, lengths: Sequence[int], state: Frames) -> tuple[Frames, Frames]:
        """Run over stretches that follow each other.

        Args:
            hidden: ``(N, U, D)``, padded behind shorter stretches.
            lengths: their frames.
            state: ``(H,)`` in front of the first stretch that is read.

        Returns:
            The output ``(N, U, H)`` and the state ``(H,)`` behind the last stretch that is read.
        """
        order = list(range(len(lengths)))[:: -1 if self._backward else 1]
        starts = np.zeros((1, len(lengths), len(state)), np.float32)
        starts[0, order[0]] = state
        output, finals = self._part(hidden, np.array(lengths, np.int64), starts)
        ends = finals[0].copy()
        following = dict(pairwise(order))
        moved = {following[row]: ends[row] for row in order[:-1]}
        while moved:
            changed = self._walk_again(hidden, lengths, output, moved)
            moved = {}
            for row, end in changed.items():
                ends[row] = end
                if row in following:
                    moved[following[row]] = end
        return output, ends[order[-1]]

    def _walk_again(
        self, hidden: Frames, lengths: Sequence[int], output: Frames, states: dict[int, Frames]
    ) -> dict[int, Frames]:
        """Walk rows from new states, in place; give the ends of those that never settled."""
        changed: dict[int, Frames] = {}
        done = 0
        while states:
            rows = list(states)
            spans = [self._span(lengths[row], done) for row in rows]
            counts = np.array([span.stop - span.start for span in spans], np.int64)
            block = np.zeros((len(rows), counts.max(), hidden.shape[2]), np.float32)
            for place, row, span in zip(block, rows, spans, strict=True):
                place[: span.stop - span.start] = hidden[row, span]
            starts = np.stack([states[row] for row in rows])[None]
            found, finals = self._part(block, counts, starts)
            states = {}
            for index, (row, span) in enumerate(zip(rows, spans, strict=True)):
                end = finals[0, index]
                before = output[row, span.start if self._backward else span.stop - 1].copy()
                output[row, span] = found[index, : counts[index]]
                if np.abs(end - before).max() <= self._tolerance:
                    continue
                if done + counts[index] == lengths[row]:
                    changed[row] = end
                else:
                    states[row] = end
            done += _STEP
        return changed

    def _span(self, length: int, done: int) -> slice:
        """Give the next frames to read of a stretch of which so many are done."""
        stop = min(done + _STEP, length)
        return slice(length - stop, length - done) if self._backward else slice(done, stop)
