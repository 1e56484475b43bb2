"""Decoders turn log-probabilities into hypotheses."""

from typing import TYPE_CHECKING, Any

from asr.decoding.beam import BeamSearch
from asr.decoding.greedy import greedy_decode
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import Pruning

if TYPE_CHECKING:
    from asr.decoding.beam_batch import BatchBeamSearch

__all__ = ["BatchBeamSearch", "BeamSearch", "Hypothesis", "Pruning", "greedy_decode"]


def __getattr__(name: str) -> Any:
    # The only decoder that needs torch, which exported models do without.
    if name == "BatchBeamSearch":
        from asr.decoding.beam_batch import BatchBeamSearch

        return BatchBeamSearch
    raise AttributeError(f"module 'asr.decoding' has no attribute '{name}'")
