"""Prefix beam search: the likeliest texts, summed over all their alignments, and what scorers add.

The search goes through the frames once and keeps for each of its best prefixes the probability of
all alignments so far that end in a blank and of those that end in the last token (Hannun et al.
2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent
DNNs", arXiv 1408.2873, algorithm 1). Scorers' logarithms are added when a token is appended.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import DEFAULT_PRUNING, Pruning
from asr.decoding.scorer import Scorer, ScorerSum
from asr.tokenizer import BLANK

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
        "children",
        "factor",
        "frame",
        "label",
        "parent",
        "scored",
        "state",
        "token",
        "total",
    )

    def __init__(
        self, parent: "_Prefix | None", token: int, factor: float, scored: float, state: Any
    ) -> None:
        self.parent = parent
        self.token = token
        self.factor = factor
        self.scored = scored
        self.state = state
        self.children: dict[int, _Prefix] = {}
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
    """

    beam: "list[_Prefix]"
    log_scale: float = 0.0
    frames: int = 0
    settled: bool = False


@dataclass(frozen=True)
class _Frames:
    # The possible tokens of a chunk: flat lists, frame u has those from starts[u] to starts[u + 1].
    sure: list[bool]
    blanks: list[float]
    starts: list[int]
    tokens: list[int]
    chances: list[float]
    log_scale: float = field(default=0.0)


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

    def decode(self, log_probs: Tensor, nbest: int = 1) -> list[Hypothesis]:
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
        root = _Prefix(None, -1, 1.0, 0.0, state)
        root.blank = root.total = 1.0
        root.active = True
        return BeamState([root])

    def step(self, state: BeamState, log_probs: Tensor) -> None:
        """Take the next frames.

        Args:
            state: of the utterance; changed.
            log_probs: ``(U, V)``, natural logarithms; any number of frames.

        Raises:
            ValueError: a value is not a number.
        """
        frames = _possible_tokens(log_probs.detach().cpu().numpy(), self.pruning)
        state.log_scale += frames.log_scale
        first = state.frames
        starts, tokens, chances = frames.starts, frames.tokens, frames.chances
        for index, sure in enumerate(frames.sure):
            if sure:
                if not state.settled:
                    for prefix in state.beam:
                        prefix.blank, prefix.label = prefix.total, 0.0
                state.settled = True
                continue
            state.settled = False
            span = slice(starts[index], starts[index + 1])
            possible = list(zip(tokens[span], chances[span], strict=True))
            state.beam = self._advance(state.beam, frames.blanks[index], possible, first + index)
            self._rescale(state)
            if (first + index) % _FORGET_FRAMES == 0:
                _forget(state.beam)
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
        self, beam: list[_Prefix], p_blank: float, possible: list[tuple[int, float]], frame: int
    ) -> list[_Prefix]:
        # `possible` comes likeliest first.
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
            lowest, best = min(lowest, total), max(best, total)
        floor = best * self._keep
        if len(beam) >= self.pruning.beam_size:
            floor = max(floor, lowest)
        entered = self._extend(beam, possible, floor, frame)
        for prefix, (blank, label) in zip(beam, following, strict=True):
            prefix.blank, prefix.label, prefix.total = blank, label, blank + label
        return self._prune(beam + entered)

    def _extend(
        self, beam: list[_Prefix], possible: list[tuple[int, float]], floor: float, frame: int
    ) -> list[_Prefix]:
        # Prefixes of the beam were entered by `_advance`; here are the others.
        entered: list[_Prefix] = []
        most = self._most
        for prefix in beam:
            total, children = prefix.total, prefix.children
            for token, chance in possible:
                if total * chance * most < floor:
                    break
                child = children.get(token)
                if child is None:
                    child = self._child(prefix, token)
                elif child.active:
                    continue
                source = prefix.blank if token == prefix.token else total
                label = source * chance * child.factor
                if label >= floor and label > 0.0:
                    child.blank, child.label, child.total = 0.0, label, label
                    child.frame = frame
                    entered.append(child)
        return entered

    def _child(self, prefix: _Prefix, token: int) -> _Prefix:
        if self.scorer is None:
            child = _Prefix(prefix, token, 1.0, 0.0, None)
        else:
            score, state = self.scorer.score(prefix.state, token)
            child = _Prefix(prefix, token, _exp(score), prefix.scored + score, state)
        prefix.children[token] = child
        return child

    def _prune(self, beam: list[_Prefix]) -> list[_Prefix]:
        beam.sort(key=_total, reverse=True)
        size = min(len(beam), self.pruning.beam_size)
        floor = beam[0].total * self._keep
        while size > 1 and beam[size - 1].total < floor:
            size -= 1
        for prefix in beam[size:]:
            prefix.active = False
        del beam[size:]
        for prefix in beam:
            prefix.active = True
        return beam

    def _rescale(self, state: BeamState) -> None:
        best = state.beam[0].total
        if 0.0 < best < _SMALLEST or best > 1 / _SMALLEST:
            for prefix in state.beam:
                prefix.blank /= best
                prefix.label /= best
                prefix.total /= best
            state.log_scale += math.log(best)


def _possible_tokens(log_probs: NDArray[np.float32], pruning: Pruning) -> _Frames:
    blanks = log_probs[:, BLANK].astype(np.float64)
    sure = blanks > math.log(pruning.blank_threshold)
    rows = np.flatnonzero(~sure)
    kept = log_probs if len(rows) == len(log_probs) else log_probs[rows]
    best = kept.max(1, initial=-np.inf)
    if np.isnan(best).any():
        raise ValueError("log_probs hold NaN; expected natural logarithms of probabilities")
    possible = kept >= best[:, None] - pruning.token_threshold
    possible[:, BLANK] = False
    places, tokens = np.nonzero(possible)
    chances = np.exp(kept[places, tokens].astype(np.float64))
    order = np.lexsort((-chances, places))
    counts = np.zeros(len(log_probs) + 1, np.int64)
    counts[1:][rows] = np.bincount(places, minlength=len(rows))
    return _Frames(
        sure=sure.tolist(),
        blanks=np.exp(blanks).tolist(),
        starts=np.cumsum(counts).tolist(),
        tokens=tokens[order].tolist(),
        chances=chances[order].tolist(),
        log_scale=float(blanks[sure].sum()),
    )


def _forget(beam: list[_Prefix]) -> None:
    kept: set[_Prefix] = set()
    for prefix in beam:
        line: _Prefix | None = prefix
        while line is not None and line not in kept:
            kept.add(line)
            line = line.parent
    for prefix in kept:
        children = prefix.children.items()
        prefix.children = {token: child for token, child in children if child in kept}


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _increasing(frames: list[int]) -> tuple[int, ...]:
    # A prefix may have been entered anew after its continuation was.
    for position in range(len(frames) - 2, -1, -1):
        frames[position] = min(frames[position], frames[position + 1] - 1)
    return tuple(max(frame, position) for position, frame in enumerate(frames))
