"""A pool of hypotheses: all that were found for each utterance, to be ranked by any weights."""

from collections.abc import Callable, Sequence

import numpy as np

from asr.decoding.hypothesis import Hypothesis
from asr.scoring.alignment import count_errors
from asr.tuning.surface import ErrorSurface


class Pool:
    """Collects hypotheses with what does not depend on weights.

    Args:
        references: the words of each utterance, normalised.
        words: gives the normalised words of a hypothesis' tokens.
        lm_score: gives the language model's natural logarithm of tokens, at weight 1.
        word_count: counts the words that the insertion bonus counts.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        words: Callable[[tuple[int, ...]], Sequence[str]],
        lm_score: Callable[[tuple[int, ...]], float],
        word_count: Callable[[tuple[int, ...]], float],
    ) -> None:
        self._references = references
        self._words = words
        self._lm_score = lm_score
        self._word_count = word_count
        # Of each utterance: tokens to acoustic score, LM score, words and word errors.
        self._rows: list[dict[tuple[int, ...], tuple[float, float, float, int]]] = [
            {} for _ in references
        ]

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def add(self, row: int, hypotheses: Sequence[Hypothesis]) -> tuple[int, int]:
        """Add hypotheses of an utterance.

        Args:
            row: which utterance.
            hypotheses: the best first.

        Returns:
            How many were not known, and the word errors of the first one.
        """
        known = self._rows[row]
        new = 0
        for each in hypotheses:
            if each.tokens in known:
                # A search that went another way may have summed more alignments.
                old = known[each.tokens]
                known[each.tokens] = (max(old[0], each.log_prob), *old[1:])
                continue
            new += 1
            errors = count_errors(self._references[row], self._words(each.tokens)).errors
            known[each.tokens] = (
                each.log_prob,
                self._lm_score(each.tokens),
                self._word_count(each.tokens),
                errors,
            )
        return new, known[hypotheses[0].tokens][3]

    def surface(self, lm_weights: Sequence[float], bonuses: Sequence[float]) -> ErrorSurface:
        """Count the errors of the best hypotheses at every pair of weights.

        Args:
            lm_weights: rows.
            bonuses: columns.
        """
        weights, bonus = np.array(lm_weights), np.array(bonuses)
        errors = np.zeros((len(weights), len(bonus)), np.int64)
        for known in self._rows:
            if not known:
                continue
            acoustic, lm, words, wrong = (
                np.array(values) for values in zip(*known.values(), strict=True)
            )
            with np.errstate(invalid="ignore"):
                # What a language model rules out it rules out at any weight but 0.
                weighted = np.where(weights[:, None] > 0, weights[:, None] * lm, 0.0)
            scores = (acoustic + weighted)[:, None] + bonus[:, None] * words
            errors += wrong[scores.argmax(axis=2)]
        total = sum(map(len, self._references))
        return ErrorSurface(tuple(lm_weights), tuple(bonuses), errors, total)
