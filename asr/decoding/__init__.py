"""Decoders turn log-probabilities into hypotheses."""

from asr.decoding.beam import BeamSearch
from asr.decoding.beam_batch import BatchBeamSearch
from asr.decoding.greedy import greedy_decode
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import Pruning

__all__ = ["BatchBeamSearch", "BeamSearch", "Hypothesis", "Pruning", "greedy_decode"]
