"""Splicing: words that a speaker said become sentences that nobody said."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from asr.errors import ConfigError
from asr.manifest import CompactUtterances, Utterance

# Sets these draws apart from those of other augmentation with the same seed.
_STREAM = 7


class Run(NamedTuple):
    """Words of an utterance, one behind the other, and when they are said.

    Attributes:
        utterance: position in the training set.
        first_word: the first of them, from 0.
        stop_word: the one behind the last; the first itself for a stretch without words.
        start_ms: where they begin, in milliseconds.
        end_ms: where they have ended.
    """

    utterance: int
    first_word: int
    stop_word: int
    start_ms: int
    end_ms: int


class WordSplicing:
    """Replaces some utterances by runs of words, taken at random from all that their speaker says.

    A new utterance has the silence before and behind the old one, about as many words, and is no
    longer than the longest of the training set. Until ``edges`` says where words begin and end,
    nothing is replaced.

    Args:
        utterances: the training set; those without a speaker count as one speaker's.
        probability: that an utterance is replaced, in each epoch.
        run_words: mean number of words that are taken together, at least 1; their numbers are
            distributed geometrically.
        align_after: after so many epochs the words are searched for, each time anew.

    Source: cutting and joining at word boundaries as in Aligned Data Augmentation (Lam et al. 2021,
    "On-the-fly aligned data augmentation for sequence-to-sequence ASR", arXiv 2104.01393), within
    one speaker, and with the times of the model that is being trained.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        probability: float,
        run_words: float = 2.0,
        align_after: tuple[int, ...] = (8,),
    ) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(
                f"augment.splice.probability is {probability}; expected within [0, 1]"
            )
        if run_words < 1:
            raise ConfigError(f"augment.splice.run_words is {run_words}; expected 1 or more")
        if not align_after or any(epochs < 1 for epochs in align_after):
            raise ConfigError(
                f"augment.splice.align_after is {list(align_after)}; expected numbers of epochs, "
                "1 or more, as words are found by what the model has learned"
            )
        self.utterances = CompactUtterances.of(utterances)
        self.probability = probability
        self.run_words = run_words
        self.align_after = tuple(align_after)
        self._most_ms = int(self.utterances.durations.max(initial=0.0) * 1000)
        speakers = [utterance.speaker for utterance in self.utterances]
        self._speakers = np.unique(np.array(speakers), return_inverse=True)[1].reshape(-1)
        self._read_words()
        self._edges: list[np.ndarray] = []

    def _read_words(self) -> None:
        numbers: dict[str, int] = {}
        # What stands before the first word of a transcript.
        self._beginning = 0
        self._words = [
            np.array(
                [numbers.setdefault(word, len(numbers) + 1) for word in text.split()], np.int64
            )
            for text in (utterance.text for utterance in self.utterances)
        ]
        following: dict[int, set[int]] = {}
        for words in self._words:
            for pair in pairwise([self._beginning, *words.tolist()]):
                following.setdefault(pair[0], set()).add(pair[1])
        self._following = {word: np.array(sorted(next_)) for word, next_ in following.items()}

    @property
    def edges(self) -> list[np.ndarray]:
        """Where the words of each utterance begin, and the last one ends, in milliseconds.

        Of n words ``(n + 1,)`` int64 for each utterance of the training set; empty where it is not
        known. No list at all before words were searched for.
        """
        return self._edges

    @edges.setter
    def edges(self, edges: Sequence[np.ndarray]) -> None:
        self._edges = list(edges)
        if not self._edges:
            return
        # The words of a speaker lie one behind the other, those of an utterance together.
        counts = np.array([max(0, len(each) - 1) for each in self._edges])
        order = np.argsort(self._speakers, kind="stable")
        self._owner = np.repeat(order, counts[order])
        starts = np.cumsum(counts[order]) - counts[order]
        self._place = np.arange(len(self._owner)) - np.repeat(starts, counts[order])
        totals = np.bincount(self._speakers, weights=counts).astype(np.int64)
        stops = np.cumsum(totals)
        self._from, self._upto = (stops - totals)[self._speakers], stops[self._speakers]
        empty = np.zeros(0, np.int64)
        self._said = np.concatenate(
            [empty, *(self._words[place] for place in order if counts[place])]
        )

    def state(self) -> dict[str, np.ndarray]:
        """Give the edges in two arrays, for a checkpoint."""
        counts = np.array([len(own) for own in self._edges], np.int64)
        return {"edges": np.concatenate([np.zeros(0, np.int64), *self._edges]), "counts": counts}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the edges of a checkpoint."""
        counts = state["counts"]
        self.edges = np.split(state["edges"], np.cumsum(counts)[:-1]) if len(counts) else []

    def draws(self, seeds: Sequence[int]) -> dict[int, tuple[Run, ...]]:
        """Draw what is replaced in an epoch, and by what.

        Args:
            seeds: of all utterances of the training set, in its order.

        Returns:
            Runs to be played one behind the other, by the position of what they replace.
        """
        drawn = ((utterance, self.draw(utterance, seed)) for utterance, seed in enumerate(seeds))
        return {utterance: runs for utterance, runs in drawn if runs}

    def draw(self, utterance: int, seed: int) -> tuple[Run, ...]:
        """Draw what an utterance is replaced by.

        Args:
            utterance: its position in the training set.
            seed: its seed in this epoch.

        Returns:
            Runs to be played one behind the other; none where it stays as it is.
        """
        if not self._edges or not len(own := self._edges[utterance]):
            return ()
        generator = np.random.default_rng([seed, _STREAM])
        if generator.random() >= self.probability:
            return ()
        words = len(own) - 1
        whole = int(self.utterances.durations[utterance] * 1000)
        lead = Run(utterance, 0, 0, 0, int(own[0]))
        tail = Run(utterance, words, words, int(own[-1]), max(whole, int(own[-1])))
        room = self._most_ms - _milliseconds(lead) - _milliseconds(tail)
        missing = max(2, words)
        runs, last = [lead], self._beginning
        while missing > 0:
            most = min(missing, int(generator.geometric(1 / self.run_words)))
            run = self._run(utterance, last, most, room, generator)
            if run is None:
                break
            runs.append(run)
            last = int(self._words[run.utterance][run.stop_word - 1])
            missing -= run.stop_word - run.first_word
            room -= _milliseconds(run)
        return (*runs, tail) if len(runs) > 1 else ()

    def _run(
        self, utterance: int, last: int, most: int, room: int, generator: np.random.Generator
    ) -> Run | None:
        """Draw a run that may follow a word; fewer words than asked for where it ends before."""
        own = self._said[self._from[utterance] : self._upto[utterance]]
        fitting = np.flatnonzero(np.isin(own, self._following.get(last, ())))
        if not len(fitting):
            return None
        word = int(self._from[utterance] + fitting[generator.integers(len(fitting))])
        owner, first = int(self._owner[word]), int(self._place[word])
        edges = self._edges[owner]
        stop = min(first + most, len(edges) - 1)
        while stop > first and edges[stop] - edges[first] > room:
            stop -= 1
        return (
            Run(owner, first, stop, int(edges[first]), int(edges[stop])) if stop > first else None
        )


def spliced_seconds(runs: Sequence[Run]) -> float:
    """Tell how long runs take together, in seconds."""
    return sum(map(_milliseconds, runs)) / 1000


def _milliseconds(run: Run) -> int:
    return run.end_ms - run.start_ms
