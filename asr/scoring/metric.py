"""A metric adds up errors over batches and processes: the rate is that of one process over all."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from asr.errors import ScoringError
from asr.scoring.alignment import ErrorCounts, count_errors


class ErrorMetric:
    """Counts errors batch by batch, in one process or in many.

    Rates are never averaged: counts are summed over batches and processes, and the rate is taken of
    the sums. With ids, an utterance that several processes have, because a distributed sampler
    filled up their shares with repetitions, counts once.

    Args:
        unit: "words" or "characters".
    """

    def __init__(self, unit: str = "words") -> None:
        if unit not in ("words", "characters"):
            raise ScoringError(f"the unit is '{unit}'; expected words or characters")
        self.unit = unit
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before a new epoch."""
        self._anonymous = ErrorCounts()
        self._counts_of: dict[str, ErrorCounts] = {}

    def update(
        self, references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str] | None = None
    ) -> None:
        """Count the errors of a batch.

        Args:
            references: what was said.
            hypotheses: what was recognised, in the same order.
            ids: the utterances, if repetitions shall not count.

        Raises:
            ScoringError: there are not as many hypotheses, or ids, as references.
        """
        if isinstance(references, str) or isinstance(hypotheses, str):
            raise ScoringError("the metric got one text; expected a list of texts on both sides")
        lengths = {len(references), len(hypotheses), len(references if ids is None else ids)}
        if len(lengths) > 1:
            raise ScoringError(
                f"a batch has {len(references)} references, {len(hypotheses)} hypotheses and "
                f"{'no' if ids is None else len(ids)} ids; expected as many of each"
            )
        for position, (reference, hypothesis) in enumerate(
            zip(references, hypotheses, strict=True)
        ):
            counts = self._count(reference.split(), hypothesis.split())
            if ids is None:
                self._anonymous += counts
            else:
                self._counts_of.setdefault(ids[position], counts)

    def _count(self, reference: list[str], hypothesis: list[str]) -> ErrorCounts:
        if self.unit == "words":
            return count_errors(reference, hypothesis)
        return count_errors(" ".join(reference), " ".join(hypothesis))

    @property
    def local(self) -> ErrorCounts:
        """What this process alone has counted."""
        return sum(self._counts_of.values(), self._anonymous)

    def compute(self) -> ErrorCounts:
        """Sum over all processes; every process must call it, and all get the same.

        Returns:
            The counts of the whole set; outside distributed training, those of this process.
        """
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return self.local
        mine = (
            astuple(self._anonymous),
            {identity: astuple(counts) for identity, counts in self._counts_of.items()},
        )
        gathered: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, mine)
        merged: dict[str, ErrorCounts] = {}
        total = ErrorCounts()
        for anonymous, counts_of in gathered:
            total += ErrorCounts(*anonymous)
            # Of a repeated utterance the first process's count, so that all agree.
            for identity, counts in counts_of.items():
                merged.setdefault(identity, ErrorCounts(*counts))
        return sum(merged.values(), total)
