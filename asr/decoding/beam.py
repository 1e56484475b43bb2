"""Prefix beam search: the likeliest texts, summed over all their alignments, and what scorers add.

The search goes through the frames once and keeps for each of its best prefixes the probability of
all alignments so far that end in a blank and of those that end in the last token (Hannun et al.
2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent
DNNs", arXiv 1408.2873, algorithm 1). Scorers' logarithms are added when a token is appended.
"""

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import DEFAULT_PRUNING, PossibleTokens, Pruning, possible_tokens
from asr.decoding.scorer import Scorer, ScorerSum

# Larger than any vocabulary.
_TOKEN_BITS = 24
# How often prefixes that lead to none of the beam are forgotten.
_FORGET_FRAMES = 1000
# Far above the smallest float; the beam's best is brought back to 1 when it falls below.
_SMALLEST = 1e-100
_total = attrgetter("total")


class _Prefix:
    # Probabilities, relative to a common scale, hold the scorers' share. Plain numbers with a
    # scale cost a fifth of what log-add costs in Python.
    __slots__ = (
        "active",
        "blank",
        "factor",
        "frame",
        "key",
        "label",
        "parent",
        "scored",
        "state",
        "token",
        "total",
    )

    def __init__(
        self,
        key: int,
        parent: "_Prefix | None",
        token: int,
        factor: float,
        scored: float,
        state: Any,
    ) -> None:
        self.key = key
        self.parent = parent
        self.token = token
        self.factor = factor
        self.scored = scored
        self.state = state
        self.active = False
        self.frame = 0
        self.blank = self.label = self.total = 0.0

    def tokens(self) -> tuple[int, ...]:
        return tuple(prefix.token for prefix in self._line())

    def frames(self) -> list[int]:
        return [prefix.frame for prefix in self._line()]

    def _line(self) -> "list[_Prefix]":
        line, prefix = [], self
        while prefix.parent is not None:
            line.append(prefix)
            prefix = prefix.parent
        return line[::-1]


@dataclass
class BeamState:
    """A search between two chunks of frames.

    Attributes:
        beam: the prefixes kept, best first.
        log_scale: natural logarithm of what their probabilities are to be multiplied by.
        frames: encoder frames seen.
        settled: whether the last frame was a sure blank.
        known: the prefixes that were met, by their parents' keys and their tokens. In the parents
            themselves they would be cycles, for Python's garbage collector to find.
        keys: how many prefixes there were.
    """

    beam: "list[_Prefix]"
    known: "dict[int, _Prefix]"
    keys: int = 1
    log_scale: float = 0.0
    frames: int = 0
    settled: bool = False


class BeamSearch:
    """Searches one utterance on the CPU, whole or in chunks.

    Args:
        pruning: how narrow.
        scorers: language models, phrases, bonuses; their scores add up.
    """

    def __init__(
        self, pruning: Pruning = DEFAULT_PRUNING, scorers: Sequence[Scorer[Any]] = ()
    ) -> None:
        self.pruning = pruning
        self.scorer: Scorer[Any] | None = None
        if scorers:
            self.scorer = scorers[0] if len(scorers) == 1 else ScorerSum(scorers)
        # The most that one step of the scorers can multiply a probability by.
        self._most = 1.0 if self.scorer is None else _exp(self.scorer.highest)
        self._keep = math.exp(-pruning.beam_threshold)

    def decode(self, log_probs: ArrayLike, nbest: int = 1) -> list[Hypothesis]:
        """Search a whole utterance.

        Args:
            log_probs: ``(U, V)``, natural logarithms.
            nbest: how many hypotheses to give.

        Returns:
            At least one hypothesis, the best first; frames are those of the search, see ``finish``.
        """
        state = self.start()
        self.step(state, log_probs)
        return self.finish(state, nbest)

    def start(self) -> BeamState:
        """Begin an utterance."""
        state = None if self.scorer is None else self.scorer.start()
        root = _Prefix(0, None, -1, 1.0, 0.0, state)
        root.blank = root.total = 1.0
        root.active = True
        return BeamState([root], {})

    def step(self, state: BeamState, log_probs: ArrayLike) -> None:
        """Take the next frames.

        Args:
            state: of the utterance; changed.
            log_probs: ``(U, V)``, natural logarithms; any number of frames.

        Raises:
            ValueError: a value is not a number.
        """
        frames = possible_tokens(np.asarray(log_probs), self.pruning)
        with _without_collector():
            self._search(state, frames)

    def _search(self, state: BeamState, frames: PossibleTokens) -> None:
        state.log_scale += frames.log_scale
        first = state.frames
        starts, tokens = frames.starts.tolist(), frames.tokens.tolist()
        chances, blanks = frames.chances.tolist(), frames.blanks.tolist()
        for index, sure in enumerate(frames.sure.tolist()):
            if sure:
                if not state.settled:
                    for prefix in state.beam:
                        prefix.blank, prefix.label = prefix.total, 0.0
                state.settled = True
                continue
            state.settled = False
            span = slice(starts[index], starts[index + 1])
            possible = list(zip(tokens[span], chances[span], strict=True))
            self._advance(state, blanks[index], possible, first + index)
            self._rescale(state)
            if (first + index) % _FORGET_FRAMES == 0:
                _forget(state)
        state.frames += len(frames.sure)

    def best(self, state: BeamState) -> tuple[int, ...]:
        """Give the tokens of the best prefix so far, the scorers' final scores left out."""
        return max(state.beam, key=_total).tokens() if state.beam else ()

    def finish(self, state: BeamState, nbest: int = 1) -> list[Hypothesis]:
        """End an utterance.

        Args:
            state: of the utterance.
            nbest: how many hypotheses to give.

        Returns:
            At least one hypothesis, the best first. Their frames are where the search found the
            likeliest entry into each token; ``asr.decoding.align`` gives the exact alignment.
        """
        found = []
        for prefix in state.beam:
            if prefix.total <= 0:
                continue
            score = math.log(prefix.total) + state.log_scale
            final = 0.0 if self.scorer is None else self.scorer.final(prefix.state)
            found.append((score + final, prefix, score - prefix.scored, prefix.scored + final))
        found.sort(key=lambda entry: entry[0], reverse=True)
        hypotheses = [
            Hypothesis(prefix.tokens(), _increasing(prefix.frames()), log_prob, scored)
            for _, prefix, log_prob, scored in found[:nbest]
        ]
        return hypotheses or [Hypothesis((), (), -math.inf)]

    def _advance(
        self, state: BeamState, p_blank: float, possible: list[tuple[int, float]], frame: int
    ) -> None:
        # `possible` comes likeliest first.
        beam = state.beam
        chance_of = dict(possible).get
        following: list[tuple[float, float]] = []
        lowest, best = math.inf, 0.0
        for prefix in beam:
            blank, label = prefix.total * p_blank, 0.0
            chance = chance_of(prefix.token)
            if chance is not None:
                label = prefix.label * chance
                parent = prefix.parent
                if parent is not None and parent.active:
                    source = parent.blank if parent.token == prefix.token else parent.total
                    entering = source * chance * prefix.factor
                    if entering > label + blank:
                        prefix.frame = frame
                    label += entering
            following.append((blank, label))
            total = blank + label
            if total < lowest:
                lowest = total
            if total > best:
                best = total
        floor = best * self._keep
        if len(beam) >= self.pruning.beam_size:
            floor = max(floor, lowest)
        entered = self._extend(state, possible, floor)
        for prefix, (blank, label) in zip(beam, following, strict=True):
            prefix.blank, prefix.label, prefix.total = blank, label, blank + label
        state.beam = self._prune(beam + entered, frame)

    def _extend(
        self, state: BeamState, possible: list[tuple[int, float]], floor: float
    ) -> list[_Prefix]:
        # Prefixes of the beam were entered by `_advance`; here are the others.
        entered: list[_Prefix] = []
        most, known = self._most, state.known
        for prefix in state.beam:
            total, key = prefix.total, prefix.key << _TOKEN_BITS
            for token, chance in possible:
                if total * chance * most < floor:
                    break
                label = (prefix.blank if token == prefix.token else total) * chance
                if label * most < floor:
                    continue
                child = known.get(key + token)
                if child is None:
                    child = known[key + token] = self._child(state, prefix, token)
                elif child.active:
                    continue
                label *= child.factor
                if label >= floor and label > 0.0:
                    child.blank, child.label, child.total = 0.0, label, label
                    entered.append(child)
        return entered

    def _child(self, state: BeamState, prefix: _Prefix, token: int) -> _Prefix:
        key = state.keys
        state.keys = key + 1
        if self.scorer is None:
            return _Prefix(key, prefix, token, 1.0, 0.0, None)
        score, following = self.scorer.score(prefix.state, token)
        return _Prefix(key, prefix, token, _exp(score), prefix.scored + score, following)

    def _prune(self, beam: list[_Prefix], frame: int) -> list[_Prefix]:
        beam.sort(key=_total, reverse=True)
        size = min(len(beam), self.pruning.beam_size)
        floor = beam[0].total * self._keep
        while size > 1 and beam[size - 1].total < floor:
            size -= 1
        for prefix in beam[size:]:
            prefix.active = False
        del beam[size:]
        for prefix in beam:
            if not prefix.active:
                prefix.active = True
                prefix.frame = frame
        return beam

    def _rescale(self, state: BeamState) -> None:
        best = state.beam[0].total
        if 0.0 < best < _SMALLEST or best > 1 / _SMALLEST:
            for prefix in state.beam:
                prefix.blank /= best
                prefix.label /= best
                prefix.total /= best
            state.log_scale += math.log(best)


@contextmanager
def _without_collector() -> Iterator[None]:
    # Thousands of new prefixes would make Python look for garbage again and again, in vain, which
    # takes twice as long as the search.
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _forget(state: BeamState) -> None:
    kept: set[_Prefix] = set()
    for prefix in state.beam:
        line: _Prefix | None = prefix
        while line is not None and line not in kept:
            kept.add(line)
            line = line.parent
    state.known = {key: prefix for key, prefix in state.known.items() if prefix in kept}


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _increasing(frames: list[int]) -> tuple[int, ...]:
    # A prefix may have been entered anew after its continuation was.
    for position in range(len(frames) - 2, -1, -1):
        frames[position] = min(frames[position], frames[position + 1] - 1)
    return tuple(max(frame, position) for position, frame in enumerate(frames))
