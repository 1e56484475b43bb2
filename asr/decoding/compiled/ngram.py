"""An n-gram model and its look-ahead over arrays: the sums of ``asr.lm.word_scorer``."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.compiled.jit import inner, integer, real
from asr.decoding.tables import LexiconTables, LmTables, TrieTables

Array = NDArray[Any]

_ROOT, _NONE = 0, -1
_UNKNOWN, _END = 0, 2
# Small enough for the processor's own caches.
_ANSWERS = 1 << 17
# Multiplicative hashing (Knuth), odd and without a pattern.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


_ANSWER = np.dtype([("key", np.int64), ("value", np.float64)], align=True)
_CONTEXT = np.dtype([("key", np.int64), ("first", np.int64), ("count", np.int64)], align=True)
_CONTINUATION = np.dtype([("place", np.int32), ("prob", np.float32)], align=True)


class Memory(NamedTuple):
    """What look-ahead has found so far; forgotten when it is full.

    Attributes:
        answers: the likeliest word's decimal logarithm by context and node of the lexicon.
        contexts: where the continuations of each begin, and how many there are.
        continuations: those of each in the order of the lexicon.
        used: answers, contexts and continuations that are there.
    """

    answers: Array
    contexts: Array
    continuations: Array
    used: Array


def make_memory(vocabulary_size: int, slots: int = _ANSWERS) -> Memory:
    """Make an empty memory; pages that are never used cost nothing.

    Args:
        vocabulary_size: the most continuations that a context may have.
        slots: room for answers, a power of two.
    """
    return Memory(
        np.zeros(slots, _ANSWER),
        np.zeros(max(4, slots // 4), _CONTEXT),
        np.zeros(max(8 * slots, 2 * vocabulary_size), _CONTINUATION),
        np.zeros(3, np.int64),
    )


@inner
def find_slot(slots: Array, key: int) -> int:
    """Give the slot that holds a key, or the empty one where it belongs; keys are above 0."""
    mask = len(slots) - 1
    mixed = np.uint64(key) * _SPREAD
    slot = integer((mixed >> np.uint64(31)) & np.uint64(mask))
    while slots[slot].key != 0 and slots[slot].key != key:
        slot = (slot + 1) & mask
    return slot


@inner
def bisect(values: Array, value: int, low: int, high: int) -> int:
    """Give the first of the places from ``low`` to ``high`` whose value is not below one."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def continuation(trie: TrieTables, node: int, word: int) -> int:
    """Give the node of a word after a context, or -1."""
    low, high = integer(trie.first_child[node]), integer(trie.first_child[node + 1])
    if node == _ROOT:
        return low + word
    place = bisect(trie.word, word, low, high)
    return place if place < high and trie.word[place] == word else _NONE


@inner
def score_word(trie: TrieTables, state: int, word: int) -> tuple[float, int]:
    """Give the decimal logarithm of a word after a state, and the state after it."""
    log10_prob = 0.0
    node = state
    child = continuation(trie, node, word)
    while child < 0:
        log10_prob += real(trie.log10_backoff[node])
        node = integer(trie.link[node])
        child = continuation(trie, node, word)
    log10_prob += real(trie.log10_prob[child])
    inner = len(trie.log10_backoff)
    while child >= inner or (
        child != _ROOT
        and trie.first_child[child] == trie.first_child[child + 1]
        and trie.log10_backoff[child] == 0
    ):
        child = integer(trie.link[child])
    return log10_prob, child


@inner
def child_of(nodes: Array, node: int, letter: int) -> int:
    """Give the lexicon's node one letter on, or -1."""
    low, end = nodes[node].first_child, nodes[node + 1].first_child
    high = end
    while low < high:
        middle = (low + high) // 2
        if nodes[middle].letter < letter:
            low = middle + 1
        else:
            high = middle
    return integer(low) if low < end and nodes[low].letter == letter else integer(_NONE)


@inner
def unknown(lm: LmTables, score: float, penalty: bool) -> float:
    """Bound an unknown word's decimal logarithm from below and take the penalty."""
    return max(score, lm.floor) + (lm.penalty if penalty else 0.0)


@inner
def ahead(lm: LmTables, memory: Memory, context: int, node: int) -> float:
    """Give the decimal logarithm of the likeliest word that can come of the letters so far."""
    if node == _ROOT or not lm.look_ahead:
        return 0.0
    key = context * len(lm.lexicon.nodes) + node + 2
    slot = find_slot(memory.answers, key)
    if memory.answers[slot].key != 0:
        return real(memory.answers[slot].value)
    of_unknown, _ = score_word(lm.trie, context, _UNKNOWN)
    found = max(of_unknown, lm.floor) + lm.penalty
    if node != _NONE:
        found = max(found, best_known(lm.trie, lm.lexicon, memory, context, node))
        if lm.lexicon.nodes[node].named:
            found = max(found, max(of_unknown, lm.floor))
    if memory.used[0] >= len(memory.answers) * 3 // 4:
        memory.used[0] = 0
        for number in range(len(memory.answers)):
            memory.answers[number].key = 0
        slot = find_slot(memory.answers, key)
    memory.answers[slot].key, memory.answers[slot].value = key, found
    memory.used[0] += 1
    return found


@inner
def best_known(
    trie: TrieTables, lexicon: LexiconTables, memory: Memory, context: int, node: int
) -> float:
    """Give at least what the likeliest of a node's words has in a context."""
    low, high = lexicon.nodes[node].low, lexicon.nodes[node].high
    best, backoff = -np.inf, 0.0
    while context != _ROOT:
        slot = find_slot(memory.contexts, context + 1)
        if memory.contexts[slot].key == 0:
            slot = remember(trie, lexicon.places, memory, context, slot)
        place = memory.contexts[slot].first
        end = place + memory.contexts[slot].count
        place = first_place(memory.continuations, low, place, end)
        while place < end and memory.continuations[place].place < high:
            best = max(best, backoff + real(memory.continuations[place].prob))
            place += 1
        backoff += real(trie.log10_backoff[context])
        context = integer(trie.link[context])
    return max(best, backoff + real(lexicon.nodes[node].best))


@inner
def first_place(continuations: Array, value: int, low: int, high: int) -> int:
    """Give the first continuation from ``low`` to ``high`` whose word is not below a place."""
    while low < high:
        middle = (low + high) // 2
        if continuations[middle].place < value:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def remember(trie: TrieTables, places: Array, memory: Memory, context: int, slot: int) -> int:
    """Sort a context's continuations by the lexicon; give the slot that tells where they are."""
    begin, end = integer(trie.first_child[context]), integer(trie.first_child[context + 1])
    if memory.used[1] >= len(memory.contexts) * 3 // 4 or memory.used[2] + end - begin > len(
        memory.continuations
    ):
        memory.used[1] = memory.used[2] = 0
        for number in range(len(memory.contexts)):
            memory.contexts[number].key = 0
        slot = find_slot(memory.contexts, context + 1)
    first = last = memory.used[2]
    for child in range(begin, end):
        place = places[trie.word[child]]
        if place != _NONE:
            memory.continuations[last].place = place
            memory.continuations[last].prob = trie.log10_prob[child]
            last += 1
    sort_places(memory.continuations[first:last])
    memory.contexts[slot].key = context + 1
    memory.contexts[slot].first, memory.contexts[slot].count = first, last - first
    memory.used[1] += 1
    memory.used[2] = last
    return slot


@inner
def sort_places(continuations: Array) -> None:
    """Sort by place (Shell 1959, with gaps that shrink by 2.25)."""
    gap = len(continuations)
    while gap > 1:
        gap = max(1, gap * 4 // 9)
        for number in range(gap, len(continuations)):
            place, prob = continuations[number].place, continuations[number].prob
            hole = number
            while hole >= gap and continuations[hole - gap].place > place:
                continuations[hole].place = continuations[hole - gap].place
                continuations[hole].prob = continuations[hole - gap].prob
                hole -= gap
            continuations[hole].place, continuations[hole].prob = place, prob


@inner
def end_word(lm: LmTables, context: int, node: int) -> tuple[float, int]:
    """Score a word that ends; give the context after it as well."""
    word = integer(_NONE) if node == _NONE else integer(lm.lexicon.nodes[node].word)
    score, following = score_word(lm.trie, context, max(word, integer(_UNKNOWN)))
    if word <= _UNKNOWN:
        score = max(score, lm.floor) + (lm.penalty if word == _NONE else 0.0)
    return score, following
