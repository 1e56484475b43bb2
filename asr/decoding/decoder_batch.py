"""A decoder that searches many utterances at a time, on the device where they were encoded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from asr.decoding.beam import BeamSearch
from asr.decoding.beam_batch import BatchBeamSearch
from asr.decoding.decoder import BeamDecoder
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import Pruning
from asr.decoding.scorer import Scorer


class BatchBeamDecoder(BeamDecoder):
    """Beam search over batches; hypotheses are those of ``BeamDecoder``.

    Args:
        pruning: how narrow.
        scorers: language models, phrases, bonuses; their scores add up.
        device: where to search.
        kept: further arguments of ``BeamDecoder``.
    """

    batch_size = 32

    def __init__(
        self, pruning: Pruning, scorers: Sequence[Scorer[Any]], device: str, **kept: Any
    ) -> None:
        super().__init__(BeamSearch(pruning, scorers), **kept)
        self.together = BatchBeamSearch(pruning, scorers)
        self.device = device

    def decode(self, log_probs: ArrayLike) -> tuple[Hypothesis, ...]:
        return self.decode_batch([log_probs])[0]

    def decode_batch(self, log_probs: Sequence[ArrayLike]) -> list[tuple[Hypothesis, ...]]:
        arrays = [np.asarray(rows) for rows in log_probs]
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(rows) for rows in arrays], batch_first=True
        )
        lengths = torch.tensor([len(rows) for rows in arrays])
        wanted = self.search.pruning.beam_size if self.rescorers else self.nbest
        found = self.together.decode(padded.to(self.device), lengths, wanted)
        return [
            self.finish(rows, hypotheses) for rows, hypotheses in zip(arrays, found, strict=True)
        ]
