"""The levels of a trie: all n-grams of one order, sorted by context and last word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.lm.counts import OrderCounts
from asr.lm.kneser_ney import OrderEstimate
from asr.lm.workspace import Array, Workspace

# The empty context is node 0; the nodes of all orders follow it, order by order.
ROOT = 0


@dataclass(frozen=True)
class Level:
    """All n-grams of one order.

    Attributes:
        word: last words' ids (M,).
        log10_prob: decimal logarithms of the probabilities (M,).
        log10_backoff: decimal logarithms of the weights of shorter contexts (M,); empty for the
            highest order.
        first_child: where each one's continuations begin in the level above, and at the end their
            number (M + 1,); empty for the highest order.
        link: the node of the longest ending that the model holds (M,), ``ROOT`` for single words.
    """

    word: Array
    log10_prob: Array
    log10_backoff: Array
    first_child: Array
    link: Array

    def __len__(self) -> int:
        return len(self.word)


def build_levels(
    orders: Sequence[OrderCounts], estimates: Sequence[OrderEstimate], space: Workspace
) -> list[Level]:
    """Join counts and probabilities and leave out what was pruned.

    Args:
        orders: what ``count_ngrams`` returned.
        estimates: what ``estimate`` returned.
        space: where large arrays go.
    """
    levels: list[Level] = []
    places: Array | None = None  # where the n-grams of the order below went
    for n, (counts, found) in enumerate(zip(orders, estimates, strict=True)):
        link = space.array(len(counts), np.int64)
        first_node = 1 + sum(map(len, levels[: n - 1])) if n else ROOT
        for span in space.spans(len(counts)):
            below = counts.link[span]
            link[span] = first_node + (below if places is None else places[below])
        arrays = [counts.word, found.log10_prob, found.log10_backoff, link]
        first_child = counts.first_child
        if n + 1 < len(orders) and (kept_above := estimates[n + 1].kept) is not None:
            first_child = _gather(_kept_before(kept_above, space), first_child, space)
        places = None
        if found.kept is not None:
            arrays = [_select(array, found.kept, space) for array in arrays]
            # Whoever is left out has no children left, so that the others' follow one another.
            first_child = _select(first_child, np.append(found.kept, True), space)
            places = _kept_before(found.kept, space)
        word, log10_prob, log10_backoff, link = arrays
        levels.append(Level(word, log10_prob, log10_backoff, first_child, link))
    return levels


def _kept_before(kept: Array, space: Workspace) -> Array:
    # How many are kept before each one, and in all.
    total = space.array(len(kept) + 1, np.int64)
    total[0] = 0
    np.cumsum(kept, out=total[1:])
    return total


def _gather(values: Array, places: Array, space: Workspace) -> Array:
    result = space.array(len(places), values.dtype)
    for span in space.spans(len(places)):
        result[span] = values[places[span]]
    return result


def _select(values: Array, kept: Array, space: Workspace) -> Array:
    if not len(values):
        return values
    column = space.column(values.dtype)
    for span in space.spans(len(values)):
        column.append(values[span][kept[span]])
    return column.finish()
