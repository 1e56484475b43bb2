"""An error surface: the word error rate at every pair of LM weight and insertion bonus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The text shows this many rows and columns around the best point, and every one of them in JSON.
_SHOWN_ROWS, _SHOWN_COLUMNS = 13, 11


@dataclass(frozen=True)
class ErrorSurface:
    """Word errors over a grid.

    Attributes:
        lm_weights: the grid's rows, increasing.
        bonuses: its columns, increasing.
        errors: ``(rows, columns)``, int64, summed over the set.
        words: reference words of the set.
    """

    lm_weights: tuple[float, ...]
    bonuses: tuple[float, ...]
    errors: NDArray[np.int64]
    words: int

    def best(self) -> tuple[float, float]:
        """Choose a point: the fewest errors in it and its eight neighbours together.

        A single low point is often luck; the middle of a low plain holds on other data.
        """
        padded = np.pad(self.errors.astype(np.float64), 1, mode="edge")
        rows, columns = self.errors.shape
        around = sum(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3))
        lowest = np.argwhere(around == np.min(around))
        # Of several, the one nearest to their middle.
        middle = lowest.mean(axis=0)
        row, column = lowest[np.argmin(np.abs(lowest - middle).sum(axis=1))]
        return self.lm_weights[int(row)], self.bonuses[int(column)]

    def rate(self, lm_weight: float, bonus: float) -> float:
        """Give the word error rate at a point of the grid, as a share."""
        place = self.lm_weights.index(lm_weight), self.bonuses.index(bonus)
        return float(self.errors[place]) / self.words

    def format(self) -> str:
        """Write the surface around its best point as a table of percentages."""
        lm_weight, bonus = self.best()
        rows = _around(self.lm_weights, self.lm_weights.index(lm_weight), _SHOWN_ROWS)
        columns = _around(self.bonuses, self.bonuses.index(bonus), _SHOWN_COLUMNS)
        rates = 100 * self.errors / self.words
        lines = [
            "WER in %: LM weight downward, insertion bonus to the right",
            " " * 6 + "".join(f"{self.bonuses[column]:8.2f}" for column in columns),
        ]
        for row in rows:
            cells = (
                f"{rates[row, column]:7.2f}"
                + ("*" if (self.lm_weights[row], self.bonuses[column]) == self.best() else " ")
                for column in columns
            )
            lines.append(f"{self.lm_weights[row]:6.2f}" + "".join(cells))
        return "\n".join(line.rstrip() for line in lines)


def _around(values: Sequence[float], place: int, count: int) -> range:
    first = max(0, min(place - count // 2, len(values) - count))
    return range(first, min(first + count, len(values)))
