"""Chooses how a beam search runs: as machine code where that is possible, else in Python."""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

from torch import Tensor

from asr.decoding.beam import BeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import DEFAULT_PRUNING, Pruning
from asr.decoding.scorer import Scorer
from asr.decoding.tables import join_tables

StateT = TypeVar("StateT")
# The compiled search ranks by insertion, which takes longer than sorting does in larger beams.
_LARGEST_COMPILED = 1000


class Search(Protocol[StateT]):
    """Searches one utterance, whole or in chunks; see ``BeamSearch``."""

    pruning: Pruning

    def decode(self, log_probs: Tensor, nbest: int = 1) -> list[Hypothesis]:
        """Search a whole utterance."""

    def start(self) -> StateT:
        """Begin an utterance."""

    def step(self, state: StateT, log_probs: Tensor) -> None:
        """Take the next frames."""

    def best(self, state: StateT) -> tuple[int, ...]:
        """Give the tokens of the best prefix so far."""

    def finish(self, state: StateT, nbest: int = 1) -> list[Hypothesis]:
        """End an utterance."""


def make_search(
    pruning: Pruning = DEFAULT_PRUNING, scorers: Sequence[Scorer[Any]] = ()
) -> Search[Any]:
    """Make the fastest search for one utterance at a time.

    It is compiled where numba is installed (the extra ``fast``) and every scorer can tell what it
    knows as arrays: n-gram models, phrases, bonuses. The results are the same.

    Args:
        pruning: how narrow.
        scorers: language models, phrases, bonuses; their scores add up.
    """
    suits = pruning.beam_size <= _LARGEST_COMPILED and can_compile()
    tables = join_tables(scorers) if suits else None
    if tables is None:
        return BeamSearch(pruning, scorers)
    from asr.decoding.compiled.beam import CompiledBeamSearch

    return CompiledBeamSearch(pruning, scorers, tables)


@cache
def can_compile() -> bool:
    """Tell whether numba is installed."""
    return importlib.util.find_spec("numba") is not None
