"""Interpolated modified Kneser–Ney smoothing: from counts of n-grams to probabilities.

Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1998),
equations 22 to 26; the treatment of sentence starts, unknown words and pruning is that of Heafield
et al., "Scalable Modified Kneser-Ney Language Model Estimation" (2013), and KenLM's `lmplz`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.errors import TextError
from asr.lm.counts import OrderCounts
from asr.lm.vocabulary import END, START
from asr.lm.workspace import Array, Workspace

# Counts from 3 on share a discount, which takes the counts of counts up to 4.
_CLASSES = 4


@dataclass(frozen=True)
class OrderEstimate:
    """Probabilities of all n-grams of one order, in the order of their counts.

    Attributes:
        log10_prob: decimal logarithms of the interpolated probabilities (M,) float32.
        log10_backoff: decimal logarithms of the weights that the order below gets after each
            n-gram (M,) float32; empty for the highest order.
        kept: which n-grams are not pruned (M,), or None where all are kept.
        discounts: what is taken from counts of 1, 2 and 3 or more.
    """

    log10_prob: Array
    log10_backoff: Array
    kept: Array | None
    discounts: tuple[float, float, float]


def estimate(
    orders: Sequence[OrderCounts],
    last_ngram: Sequence[int],
    prune: Sequence[int],
    fallback: tuple[float, float, float] | None,
    space: Workspace,
    done: Callable[[], object],
) -> list[OrderEstimate]:
    """Turn counts into probabilities.

    Args:
        orders: what ``count_ngrams`` returned.
        last_ngram: what ``last_in_suffix_order`` returned.
        prune: for each order, n-grams that occur no more often than this are left out; the
            probability that they had goes to the order below.
        fallback: discounts where the counts of counts give none; None: that is an error.
        space: where large arrays go.
        done: called after each order.

    Raises:
        TextError: the text is too small for discounts, and there is no fallback.
    """
    results: list[OrderEstimate] = []
    empty = np.empty(0, np.float32)
    lower = empty
    for n, counts in enumerate(orders, start=1):
        above = orders[n] if n < len(orders) else None
        adjusted = _adjusted_counts(counts, above, n, space)
        kept = _kept(counts, prune[n - 1], space)
        statistics = _counts_of_counts(adjusted, orders, n, last_ngram, space)
        discounts = _discounts(statistics, n, fallback)
        if n == 1:
            lower = _unigram_probs(adjusted, discounts)
        else:
            first_child = orders[n - 2].first_child
            lower, gammas = _interpolate(
                adjusted, kept, discounts, counts, first_child, lower, space
            )
            results[-1] = replace(results[-1], log10_backoff=_log10(gammas, space))
        results.append(OrderEstimate(_log10(lower, space), empty, kept, discounts))
        done()
    return results


def last_in_suffix_order(ids: Array, order: int, space: Workspace) -> list[int]:
    """Find the n-gram of the highest order that is last when words are compared from the right.

    `lmplz` counts this n-gram's endings in its counts of counts by how often they occur, and not
    by how many words they follow as all others. In a large text that is nothing; in a small one it
    moves the discounts.

    Returns:
        Its words' ids from the last one to the left, up to the beginning of the sentence.
    """
    highest = max((int(ids[span].max()) for span in space.spans(len(ids))), default=END)
    parts = [span.start + np.flatnonzero(ids[span] == highest) for span in space.spans(len(ids))]
    places = np.concatenate(parts)
    places = places[places > 0]
    found = [highest]
    while len(found) < order:
        places = places - 1
        words = np.where(ids[places] == END, START, ids[places])
        found.append(int(words.max()))
        if found[-1] == START:
            break
        places = places[words == found[-1]]
    return found


def _adjusted_counts(
    counts: OrderCounts, above: OrderCounts | None, n: int, space: Workspace
) -> Array:
    # Below the highest order it matters how many words an n-gram follows and not how often it
    # occurs, except where it begins a sentence and follows nothing.
    adjusted = space.array(len(counts), np.int64)
    if above is None:
        adjusted[:] = counts.count
    else:
        adjusted.fill(0)
        for span in space.spans(len(above)):
            adjusted += np.bincount(above.link[span], minlength=len(counts))
        low, high = counts.start
        adjusted[low:high] = counts.count[low:high]
    if n == 1:
        adjusted[START] = 0
    return adjusted


def _kept(counts: OrderCounts, threshold: int, space: Workspace) -> Array | None:
    if not threshold:
        return None
    kept = space.array(len(counts), np.bool_)
    for span in space.spans(len(counts)):
        kept[span] = counts.count[span] > threshold
    return kept


def _counts_of_counts(
    adjusted: Array,
    orders: Sequence[OrderCounts],
    n: int,
    last_ngram: Sequence[int],
    space: Workspace,
) -> Array:
    # How many n-grams have an adjusted count of 0, 1, 2, 3 and 4.
    total = np.zeros(_CLASSES + 2, np.int64)
    for span in space.spans(len(adjusted)):
        capped = np.minimum(adjusted[span], _CLASSES + 1)
        total += np.bincount(capped, minlength=_CLASSES + 2)
    if n < len(orders) and n <= len(last_ngram):
        place = _find(orders, last_ngram[n - 1 :: -1])
        total[min(int(adjusted[place]), _CLASSES + 1)] -= 1
        total[min(int(orders[n - 1].count[place]), _CLASSES + 1)] += 1
    return total[: _CLASSES + 1]


def _find(orders: Sequence[OrderCounts], words: Sequence[int]) -> int:
    place = words[0]
    for below, counts, word in zip(orders, orders[1:], words[1:], strict=False):
        low, high = int(below.first_child[place]), int(below.first_child[place + 1])
        place = low + int(np.searchsorted(counts.word[low:high], word))
    return place


def _discounts(
    statistics: Array, n: int, fallback: tuple[float, float, float] | None
) -> tuple[float, float, float]:
    # Chen and Goodman, equation 26.
    found: list[float] = []
    if (statistics[1:_CLASSES] > 0).all():
        y = statistics[1] / (statistics[1] + 2 * statistics[2])
        found = [float(j - (j + 1) * y * statistics[j + 1] / statistics[j]) for j in (1, 2, 3)]
    if found and all(0 <= found[j - 1] <= j for j in (1, 2, 3)):
        return found[0], found[1], found[2]
    if fallback is None:
        seen = ", ".join(f"{statistics[j]} that count {j}" for j in range(1, _CLASSES + 1))
        raise TextError(
            f"the text is too small or too regular for Kneser-Ney discounts: of its {n}-grams "
            f"there are {seen}; use more text, a lower --order, or --discount-fallback"
        )
    return fallback


def _unigram_probs(adjusted: Array, discounts: tuple[float, float, float]) -> Array:
    taken = np.array([0.0, *discounts])[np.minimum(adjusted, 3)]
    total = adjusted.sum()
    # What was taken goes in equal parts to all words, the unknown one among them.
    probs: Array = (adjusted - taken) / total + taken.sum() / total / (len(adjusted) - 1)
    # It is given and never predicted; the logarithm of 1 leaves no trace in a sentence's sum.
    probs[START] = 1.0
    return probs


def _interpolate(
    adjusted: Array,
    kept: Array | None,
    discounts: tuple[float, float, float],
    counts: OrderCounts,
    first_child: Array,
    lower: Array,
    space: Workspace,
) -> tuple[Array, Array]:
    # Probabilities of all n-grams, and what is left to the order below in each context.
    probs = space.array(len(counts), np.float64)
    gammas = space.array(len(first_child) - 1, np.float64)
    table = np.array([0.0, *discounts])
    for low, high in _context_spans(first_child, space):
        offsets = first_child[low : high + 1]
        span = slice(int(offsets[0]), int(offsets[-1]))
        offsets = offsets - offsets[0]
        count = adjusted[span]
        discount = table[np.minimum(count, 3)]
        left = discount if kept is None else np.where(kept[span], discount, count)
        sizes = np.diff(offsets)
        total = _sums(count.astype(np.float64), offsets)
        # Sentence ends and unknown words are no contexts.
        gamma = np.divide(_sums(left, offsets), total, out=np.ones(high - low), where=total > 0)
        gammas[low:high] = gamma
        probs[span] = (count - discount) / np.repeat(total, sizes) + np.repeat(
            gamma, sizes
        ) * lower[counts.link[span]]
    return probs, gammas


def _context_spans(first_child: Array, space: Workspace) -> Iterator[tuple[int, int]]:
    low, last = 0, len(first_child) - 1
    while low < last:
        wanted = int(first_child[low]) + space.chunk
        high = int(np.searchsorted(first_child, wanted, side="right")) - 1
        high = min(max(high, low + 1), low + space.chunk, last)
        yield low, high
        low = high


def _sums(values: Array, offsets: Array) -> Array:
    # Of each context's own values; an empty one has the sum 0.
    sums = np.zeros(len(offsets) - 1)
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    if len(filled):
        sums[filled] = np.add.reduceat(values, offsets[filled])
    return sums


def _log10(values: Array, space: Workspace) -> Array:
    logs = space.array(len(values), np.float32)
    for span in space.spans(len(values)):
        logs[span] = np.log10(np.clip(values[span], 1e-99, 1))
    return logs
