"""Chooses how a beam search and its alignment run: as machine code where possible, else plainly."""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

from numpy.typing import ArrayLike

from asr.decoding import align as plain
from asr.decoding.beam import BeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import DEFAULT_PRUNING, Pruning
from asr.decoding.scorer import Scorer
from asr.decoding.tables import join_tables
from asr.errors import UsageError

StateT = TypeVar("StateT")
# The compiled search ranks by insertion, which takes longer than sorting does in larger beams.
_LARGEST_COMPILED = 1000


class Search(Protocol[StateT]):
    """Searches one utterance, whole or in chunks; see ``BeamSearch``."""

    pruning: Pruning

    def decode(self, log_probs: ArrayLike, nbest: int = 1) -> list[Hypothesis]:
        """Search a whole utterance."""

    def start(self) -> StateT:
        """Begin an utterance."""

    def step(self, state: StateT, log_probs: ArrayLike) -> None:
        """Take the next frames."""

    def best(self, state: StateT) -> tuple[int, ...]:
        """Give the tokens of the best prefix so far."""

    def finish(self, state: StateT, nbest: int = 1) -> list[Hypothesis]:
        """End an utterance."""


def make_search(
    pruning: Pruning = DEFAULT_PRUNING,
    scorers: Sequence[Scorer[Any]] = (),
    kind: str = "auto",
) -> Search[Any]:
    """Make the fastest search for one utterance at a time.

    It is compiled where numba is installed (the extra ``fast``) and every scorer can tell what it
    knows as arrays: n-gram models, phrases, bonuses. The results are the same.

    Args:
        pruning: how narrow.
        scorers: language models, phrases, bonuses; their scores add up.
        kind: ``"auto"``, or ``"compiled"`` or ``"plain"`` for one of the two.

    Raises:
        UsageError: the compiled search is wanted and impossible.
    """
    if kind == "plain":
        return BeamSearch(pruning, scorers)
    suits = pruning.beam_size <= _LARGEST_COMPILED and can_compile()
    tables = join_tables(scorers) if suits else None
    if tables is None and kind == "compiled":
        raise UsageError(
            f"no compiled search: it needs numba (pip install 'asr[fast]'), a beam of at most "
            f"{_LARGEST_COMPILED}, and n-gram models, phrases and bonuses, one of each, alone; "
            "expected --search auto or plain"
        )
    if tables is None:
        return BeamSearch(pruning, scorers)
    from asr.decoding.compiled.beam import CompiledBeamSearch

    return CompiledBeamSearch(pruning, scorers, tables)


def align_hypothesis(log_probs: ArrayLike, hypothesis: Hypothesis) -> Hypothesis:
    """Put a hypothesis' tokens where its likeliest alignment has them, in the faster way there is.

    Args:
        log_probs: ``(U, V)``, natural logarithms, in which a decoder found it.
        hypothesis: of any decoder.
    """
    if can_compile():
        from asr.decoding.compiled import align as compiled

        return compiled.align_hypothesis(log_probs, hypothesis)
    return plain.align_hypothesis(log_probs, hypothesis)


@cache
def can_compile() -> bool:
    """Tell whether numba is installed."""
    return importlib.util.find_spec("numba") is not None
