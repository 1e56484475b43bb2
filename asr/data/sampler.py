"""Batches by seconds of audio, each epoch anew, the same on any number of devices."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from asr.augment import SpeedPerturbation, UtteranceJoining, utterance_seed
from asr.errors import ConfigError
from asr.manifest import CompactUtterances, Utterance

# Lengths are shuffled by up to this share before sorting: batches differ between epochs at a cost
# of about as much padding.
LENGTH_JITTER = 0.02
# Utterances are sorted by length among this many batches' worth of neighbours in the shuffled
# order; a larger pool pads less and mixes less.
POOL_BATCHES = 200


class Draw(NamedTuple):
    """An utterance's place in a batch.

    Attributes:
        utterance: position in the manifest.
        seed: decides every random draw for this utterance in this epoch.
        weight: 1, or 0 for one that only keeps an otherwise idle rank in step.
        total: utterances in the batch over all ranks.
        follower: position of the utterance that is joined to it; -1: none.
    """

    utterance: int
    seed: int
    weight: float
    total: int
    follower: int = -1


class BatchSampler:
    """Deals utterances of similar length into batches of a given number of seconds.

    A batch is made for all devices together and then dealt out, so the utterances of a step do not
    depend on how many devices there are. Everything follows from ``(seed, epoch)``.

    Args:
        utterances: the manifest.
        batch_seconds: seconds of audio in a step over all ranks, padding counted.
        seed: of the shuffle and of the utterances' own seeds.
        shuffle: False keeps every epoch in order of length, for validation.
        speed: the speed perturbation that will change the lengths, if any.
        join: joins utterances, if given.
        sorted_epochs: in so many first epochs batches come in order of length, the shortest first
            (SortaGrad: Amodei et al. 2016, "Deep Speech 2").
        rank: which part of each batch is dealt here.
        world_size: how many parts there are.

    Raises:
        ConfigError: no utterance, or a batch shorter than the longest one.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        batch_seconds: float,
        *,
        seed: int = 0,
        shuffle: bool = True,
        speed: SpeedPerturbation | None = None,
        join: UtteranceJoining | None = None,
        sorted_epochs: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        # Single objects that outlive the manifest's would keep most of its memory from being freed.
        compact = CompactUtterances.of(utterances)
        self.ids, self.durations = compact.ids, compact.durations
        self.batch_seconds = batch_seconds
        self.seed = seed
        self.shuffle = shuffle
        self.speed = speed
        self.join = join
        self.sorted_epochs = sorted_epochs
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._skipped = 0
        self._cached: tuple[int, list[list[Draw]]] | None = None
        # Lightning announces epochs to `batch_sampler.sampler`, not to the batch sampler.
        self.sampler = self
        if not self.ids:
            raise ConfigError("there is no utterance to make batches of; look at the manifest")
        longest = int(self.durations.argmax())
        slowest = min(speed.factors) if speed else 1.0
        if self.durations[longest] / slowest > batch_seconds:
            raise ConfigError(
                f"batch_seconds is {batch_seconds:g}, but utterance '{self.ids[longest]}' takes "
                f"{self.durations[longest] / slowest:.1f} seconds; raise data.batch_seconds or "
                "leave it out with `asr prepare --max-duration`"
            )
        if join and join.longest_seconds / slowest > batch_seconds:
            raise ConfigError(
                f"batch_seconds is {batch_seconds:g}, but joined utterances take up to "
                f"{join.longest_seconds / slowest:.1f} seconds; raise data.batch_seconds or lower "
                "augment.join.max_seconds"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives, from its first batch on."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._skipped = 0

    def resume(self, epoch: int, batches: int) -> None:
        """Go on in an epoch of which some batches are done.

        Args:
            epoch: the epoch.
            batches: how many of its first batches to leave out; holds for one iteration.
        """
        self.epoch = epoch
        self._skipped = batches

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = self.batches(self.epoch)[self._skipped :]
        self._skipped = 0
        for batch in batches:
            yield self._share(batch)

    def batches(self, epoch: int) -> list[list[Draw]]:
        """Form all batches of an epoch, for all ranks together.

        Args:
            epoch: the epoch, from 0.

        Returns:
            Batches of draws, the longest utterance of each first.
        """
        if self._cached and self._cached[0] == epoch:
            return self._cached[1]
        seeds = [utterance_seed(self.seed, epoch, identity) for identity in self.ids]
        followers = self.join.followers(seeds) if self.join else np.full(len(seeds), -1)
        seconds = self.durations + np.where(followers >= 0, self.durations[followers], 0.0)
        if self.speed:
            seconds = seconds / np.array([self.speed.factor(seed) for seed in seeds])
        generator = np.random.default_rng([self.seed, epoch])
        batches: list[list[int]] = []
        for pool in self._pools(seconds, generator):
            batches += self._cut(pool, seconds)
        if self.shuffle:
            generator.shuffle(batches)
        for batch in batches:
            batch.sort(key=lambda index: -seconds[index])
        if self.shuffle and epoch < self.sorted_epochs:
            batches.sort(key=lambda batch: seconds[batch[0]])
        draws = [
            [Draw(i, seeds[i], 1.0, len(batch), int(followers[i])) for i in batch]
            for batch in batches
        ]
        self._cached = (epoch, draws)
        return draws

    def heard_seconds(self, epoch: int) -> float:
        """Tell how much there is to hear in an epoch, utterances joined and at their speed.

        Args:
            epoch: the epoch, from 0.

        Returns:
            Seconds, padding left out.
        """
        return sum(self._seconds(draw) for batch in self.batches(epoch) for draw in batch)

    def padding_share(self, epoch: int) -> float:
        """Tell what share of an epoch's batches is padding.

        Args:
            epoch: the epoch, from 0.

        Returns:
            Padded seconds over all seconds, padding included.
        """
        batches = self.batches(epoch)
        padded = sum(max(self._seconds(draw) for draw in batch) * len(batch) for batch in batches)
        return 1 - self.heard_seconds(epoch) / padded

    def _seconds(self, draw: Draw) -> float:
        seconds = self.durations[draw.utterance]
        if draw.follower >= 0:
            seconds += self.durations[draw.follower]
        return float(seconds / (self.speed.factor(draw.seed) if self.speed else 1.0))

    def _pools(self, seconds: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
        if not self.shuffle:
            return [np.argsort(-seconds, kind="stable")]
        order = generator.permutation(len(seconds))
        jittered = seconds * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(seconds))
        pool_seconds = POOL_BATCHES * self.batch_seconds
        pool_of = (np.cumsum(seconds[order]) / pool_seconds).astype(np.int64)
        starts = np.flatnonzero(np.diff(pool_of)) + 1
        return [pool[np.argsort(-jittered[pool])] for pool in np.split(order, starts)]

    def _cut(self, pool: np.ndarray, seconds: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = [[]]
        longest = 0.0
        for index in pool.tolist():
            longest = max(longest, seconds[index])
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.batch_seconds:
                even = len(batches[-1]) - len(batches[-1]) % even_share(len(batches[-1]))
                batches.append(batches[-1][even:])
                del batches[-2][even:]
                longest = float(seconds[[*batches[-1], index]].max())
            batches[-1].append(index)
        return batches

    def _share(self, batch: list[Draw]) -> list[Draw]:
        # Dealing every world_size-th of a batch in order of length gives near-equal seconds.
        mine = batch[self.rank :: self.world_size]
        return mine or [batch[0]._replace(weight=0.0)]


def even_share(count: int) -> int:
    """Give the number that a batch's size is made a multiple of, so that devices get as many each.

    It depends on the batch alone, not on how many devices there are.

    Args:
        count: utterances that fit into the batch.

    Returns:
        The largest power of two that is at most an eighth of them; 1 for small batches.
    """
    return 1 << max(0, (count // 8).bit_length() - 1)


class ValidationSampler(BatchSampler):
    """Deals whole batches to ranks, each utterance exactly once, since scores are only summed."""

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = self.batches(0)
        # A rank without a batch of its own would leave the others waiting for its sums.
        idle = [[batches[0][0]._replace(weight=0.0)]]
        yield from batches[self.rank :: self.world_size] or idle

    def __len__(self) -> int:
        return len(self.batches(0)[self.rank :: self.world_size]) or 1
