"""Joining: an utterance goes on with another one, so that whole transcripts cannot be learned."""

from collections.abc import Sequence

import numpy as np

from asr.augment.seed import utterance_seed
from asr.errors import ConfigError
from asr.manifest import CompactUtterances, Utterance

# Halves of a seed's 63 bits: one decides whether, the other with what.
_HALF = 31


class UtteranceJoining:
    """Lets some utterances be followed by another one of the training set, transcript and all.

    Args:
        utterances: the training set.
        probability: that an utterance which can be joined is, in each epoch.
        max_seconds: of both together, before any change of speed; None: as long as the longest
            utterance.
        same_speaker: whether only utterances of one speaker are joined, as the manifest has it;
            those without a speaker then count as one speaker's.

    Source: Lin et al. 2022, "Random utterance concatenation based data augmentation for improving
    short-video speech recognition" (arXiv 2210.15876), there to prepare for longer utterances.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        probability: float,
        max_seconds: float | None = None,
        same_speaker: bool = True,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"augment.join.probability is {probability}; expected within [0, 1]")
        if max_seconds is not None and max_seconds <= 0:
            raise ConfigError(f"augment.join.max_seconds is {max_seconds}; expected seconds")
        compact = CompactUtterances.of(utterances)
        self.probability = probability
        self._seconds = compact.durations
        self.max_seconds = float(max_seconds or self._seconds.max(initial=0.0))
        speakers = [u.speaker for u in compact] if same_speaker else [""] * len(compact)
        groups = np.unique(np.array(speakers), return_inverse=True)[1].reshape(-1)
        self._find_fitting(groups)

    def _find_fitting(self, groups: np.ndarray) -> None:
        # A speaker's utterances lie one behind the other, the shortest first, so that those which
        # fit an utterance are the first few of them; itself may be among them.
        count = len(groups)
        self._order = np.lexsort((self._seconds, groups))
        self._first, self._fitting = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._rank = np.zeros(count, np.int64)
        starts = np.flatnonzero(np.diff(groups[self._order], prepend=-1))
        for start, stop in zip(starts, [*starts[1:], count], strict=True):
            own = self._order[start:stop]
            seconds = self._seconds[own]
            self._first[own] = start
            self._rank[own] = np.arange(stop - start)
            self._fitting[own] = np.searchsorted(seconds, self.max_seconds - seconds, "right")
        self._others = self._fitting - (self._rank < self._fitting)

    def followers(self, seeds: Sequence[int]) -> np.ndarray:
        """Draw what follows each utterance.

        Args:
            seeds: of all utterances of the training set, in its order.

        Returns:
            ``(utterances,)`` int64: a position in the training set; -1 where nothing follows.
        """
        drawn = np.array([utterance_seed(seed, 0, "join") for seed in seeds], np.int64)
        chance = (drawn >> _HALF) / (1 << 32)
        place = ((drawn & ((1 << _HALF) - 1)) * self._others) >> _HALF
        place += place >= self._rank
        joined = (chance < self.probability) & (self._others > 0)
        found = np.full(len(drawn), -1, np.int64)
        found[joined] = self._order[(self._first + place)[joined]]
        return found

    @property
    def longest_seconds(self) -> float:
        """Seconds of the longest pair that can come; 0 where none can."""
        pairs = np.flatnonzero(self._others > 0)
        if not len(pairs):
            return 0.0
        last = self._fitting[pairs] - 1
        last -= last == self._rank[pairs]
        partners = self._order[self._first[pairs] + last]
        return float((self._seconds[pairs] + self._seconds[partners]).max())
