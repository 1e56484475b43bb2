"""The search for a single number: weight of a rescoring model or of phrases, sum of rivals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

RESCORING_WEIGHTS = tuple(round(float(value), 2) for value in np.arange(0, 1.501, 0.05))
# 0 for never; two tokens that win their frames rarely have less than 1 together. Up to 2, at which
# no two stand side by side: a range that ends among good values would have its end chosen.
RIVAL_SUMS = (0.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0)
HOTWORD_WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Line:
    """Word errors at every value of one weight.

    Attributes:
        weights: the values, increasing.
        errors: summed over the set.
        words: reference words of the set.
    """

    weights: tuple[float, ...]
    errors: tuple[int, ...]
    words: int

    def best(self) -> float:
        """Choose a weight: the fewest errors of it and both neighbours together, then the least.

        A single low point is often luck; the middle of a low stretch holds on other data.
        """
        padded = np.pad(np.array(self.errors), 1, mode="edge")
        around = padded[:-2] + padded[1:-1] + padded[2:]
        return self.weights[int(np.argmin(around))]

    def format(self, name: str) -> str:
        """Write the error rates, the chosen one marked.

        Args:
            name: of the weight.
        """
        best = self.best()
        cells = (
            f"{weight:g}: {100 * errors / max(1, self.words):.2f}{'*' if weight == best else ''}"
            for weight, errors in zip(self.weights, self.errors, strict=True)
        )
        return f"WER in % by {name}: " + ", ".join(cells)


@dataclass(frozen=True)
class Ranked:
    """The hypotheses of one utterance.

    Attributes:
        scores: of the search.
        rescored: what the rescoring model gives each, at weight 1.
        errors: word errors of each.
    """

    scores: Sequence[float]
    rescored: Sequence[float]
    errors: Sequence[int]


def rescoring_line(utterances: Sequence[Ranked], words: int) -> Line:
    """Count the errors of the best hypotheses at every weight of a rescoring model.

    Args:
        utterances: with all that a search held at its end.
        words: reference words of the set.
    """
    totals = np.zeros(len(RESCORING_WEIGHTS), np.int64)
    for each in utterances:
        ranks = np.array(each.scores) + np.multiply.outer(RESCORING_WEIGHTS, each.rescored)
        totals += np.array(each.errors)[ranks.argmax(axis=1)]
    return Line(RESCORING_WEIGHTS, tuple(totals.tolist()), words)


def line_of(
    values: tuple[float, ...], count_errors: Callable[[float], int], words: int, title: str
) -> Line:
    """Count errors at every value of a number, each of which the set is decoded with.

    Args:
        values: increasing.
        count_errors: decodes the set with a value.
        words: reference words of the set.
        title: of the progress bar.
    """
    return Line(values, tuple(map(count_errors, tqdm(values, title, unit="value"))), words)
