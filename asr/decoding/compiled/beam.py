"""Prefix beam search as machine code: ``asr.decoding.beam`` where all scorers have tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from asr.decoding.compiled.frames import possible_frames
from asr.decoding.compiled.ngram import make_memory
from asr.decoding.compiled.scoring import Scoring
from asr.decoding.compiled.search import (
    PREFIX,
    RANKED,
    Beam,
    Limits,
    compact,
    fill_slots,
    score_ends,
    search_frames,
    trace,
)
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import Pruning
from asr.decoding.scorer import Scorer, ScorerSum
from asr.decoding.tables import ScorerTables
from asr.tokenizer import BLANK

# Prefixes that there is room for at the beginning; more make the room larger.
_ROOM = 1 << 12
# Slots for each prefix, a power of two.
_SLOTS = 4


@dataclass
class CompiledState:
    """A search between two chunks of frames."""

    beam: Beam
    frames: int = 0


class CompiledBeamSearch:
    """Searches one utterance on the CPU, whole or in chunks; finds what ``BeamSearch`` finds.

    Args:
        pruning: how narrow.
        scorers: whose scores add up.
        tables: what they know, joined.
    """

    def __init__(
        self, pruning: Pruning, scorers: Sequence[Scorer[Any]], tables: ScorerTables
    ) -> None:
        self.pruning = pruning
        self._scorer = ScorerSum(scorers)
        self._scoring = Scoring(
            tables.lm,
            tables.phrases,
            tables.bonus,
            tables.pieces,
            make_memory(len(tables.lm.lexicon.places)),
        )
        most = self._scorer.highest
        self._limits = Limits(
            pruning.beam_size,
            math.exp(-pruning.beam_threshold),
            math.exp(most) if most < 700 else math.inf,
            bool(scorers),
        )

    def decode(self, log_probs: ArrayLike, nbest: int = 1) -> list[Hypothesis]:
        """Search a whole utterance; see ``BeamSearch.decode``."""
        state = self.start()
        self.step(state, log_probs)
        return self.finish(state, nbest)

    def start(self) -> CompiledState:
        """Begin an utterance."""
        prefixes = np.zeros(_ROOM, PREFIX)
        root = prefixes[0]
        # The empty prefix ends in the blank, which has no chance as a token.
        root["token"] = BLANK
        root["blank"] = root["total"] = root["factor"] = 1.0
        root["active"] = 1
        root["context"] = self._scoring.lm.start
        root["phrase"] = self._scoring.phrases.start
        return CompiledState(
            Beam(
                prefixes,
                np.zeros(_SLOTS * _ROOM, np.int32),
                np.zeros(self.pruning.beam_size, np.int64),
                np.zeros(self.pruning.beam_size, RANKED),
                np.array([1, 1, 0, 0]),
                np.zeros(1),
            )
        )

    def step(self, state: CompiledState, log_probs: ArrayLike) -> None:
        """Take the next frames; see ``BeamSearch.step``."""
        rows = np.asarray(log_probs)
        frames, log_scale = possible_frames(rows, self.pruning)
        state.beam.log_scale[0] += log_scale
        chance_of = np.zeros(rows.shape[1])
        taken = 0
        while taken < len(rows):
            taken = search_frames(
                frames, taken, state.frames, self._limits, state.beam, self._scoring, chance_of
            )
            if taken < len(rows):
                kept = int(state.beam.counts[0])
                _make_room(state, kept * int(frames.starts[taken + 1] - frames.starts[taken]))
        state.frames += len(rows)

    def best(self, state: CompiledState) -> tuple[int, ...]:
        """Give the tokens of the best prefix so far, the scorers' final scores left out."""
        kept = state.beam.kept[: state.beam.counts[0]]
        best = kept[np.argmax(state.beam.prefixes["total"][kept])]
        return tuple(trace(state.beam.prefixes, best)[0].tolist())

    def finish(self, state: CompiledState, nbest: int = 1) -> list[Hypothesis]:
        """End an utterance; see ``BeamSearch.finish``."""
        beam = state.beam
        kept = beam.kept[: beam.counts[0]]
        kept = kept[beam.prefixes["total"][kept] > 0]
        if not len(kept):
            return [Hypothesis((), (), -math.inf)]
        finals = np.zeros(len(kept))
        if self._limits.scored:
            score_ends(beam, self._scoring, finals)
        scores = np.log(beam.prefixes["total"][kept]) + beam.log_scale[0]
        scored = beam.prefixes["scored"][kept]
        ranked = np.argsort(-(scores + finals), kind="stable")[:nbest]
        hypotheses = []
        for place in ranked.tolist():
            tokens, frames = trace(beam.prefixes, int(kept[place]))
            hypotheses.append(
                Hypothesis(
                    tuple(tokens.tolist()),
                    tuple(frames.tolist()),
                    float(scores[place] - scored[place]),
                    float(scored[place] + finals[place]),
                )
            )
        return hypotheses


def _make_room(state: CompiledState, needed: int) -> None:
    beam = state.beam
    compact(beam)
    known = int(beam.counts[1])
    room = len(beam.prefixes)
    # Half of it stays free, so that this is seldom done.
    while room < 2 * (known + needed):
        room *= 2
    prefixes = beam.prefixes
    if room > len(prefixes):
        prefixes = np.zeros(room, PREFIX)
        prefixes[:known] = beam.prefixes[:known]
    state.beam = beam._replace(prefixes=prefixes, slots=np.zeros(_SLOTS * room, np.int32))
    fill_slots(state.beam)
