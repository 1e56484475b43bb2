"""The errors and losses of a validation set, the same however many processes share it."""

from collections.abc import Callable
from dataclasses import astuple

import torch
from torch import Tensor

from asr.ctc import ctc_loss
from asr.data import Batch
from asr.decoding.decoder import Decoder
from asr.scoring import ErrorCounts, count_errors
from asr.tokenizer import Tokenizer

# Reference and hypothesis pairs kept for the report of each epoch.
SAMPLES = 3


class ValidationTally:
    """Sums of one validation, batch by batch.

    Attributes:
        samples: id, reference and hypothesis of a few utterances.

    Args:
        tokenizer: turns tokens into text.
        decoder: decodes each utterance.
    """

    def __init__(self, tokenizer: Tokenizer, decoder: Decoder) -> None:
        self.samples: list[tuple[str, str, str]] = []
        self._tokenizer = tokenizer
        self._decoder = decoder
        self._words = self._characters = ErrorCounts()
        self._loss, self._count = 0.0, 0

    def add(self, batch: Batch, log_probs: Tensor, lengths: Tensor) -> None:
        """Decode a batch and count its errors.

        Args:
            batch: B utterances.
            log_probs: ``(B, U, V)``.
            lengths: ``(B,)``, int64, in encoder frames.
        """
        result = ctc_loss(log_probs, lengths, batch.tokens, batch.token_lengths)
        self._loss += float(result.losses.sum())
        self._count += len(batch.ids)
        rows = zip(log_probs.cpu(), lengths.tolist(), strict=True)
        for identity, reference, (row, length) in zip(batch.ids, batch.texts, rows, strict=True):
            [hypothesis] = self._decoder.decode(row[:length])
            text = self._tokenizer.decode(hypothesis.tokens)
            self._words += count_errors(reference.split(), text.split())
            self._characters += count_errors(list(reference), list(text))
            # The ids that sort first, so the same utterances are shown after every epoch.
            self.samples = sorted([*self.samples, (identity, reference, text)])[:SAMPLES]

    def metrics(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Give mean loss and error rates in percent: those of one process over the whole set.

        Args:
            over_ranks: sums a vector of float64 over all processes.
        """
        local = [self._loss, self._count, *astuple(self._words), *astuple(self._characters)]
        values = over_ranks(torch.tensor(local, dtype=torch.float64)).tolist()
        counts = [round(value) for value in values[2:]]
        half = len(counts) // 2
        return {
            "val/loss": values[0] / max(1.0, values[1]),
            "val/wer": 100 * ErrorCounts(*counts[:half]).rate,
            "val/cer": 100 * ErrorCounts(*counts[half:]).rate,
        }
