"""The frames of a prefix beam search over arrays: the rules of ``asr.decoding.beam``."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.compiled.frames import Frames
from asr.decoding.compiled.jit import compiled, compiled_maker, inner, integer
from asr.decoding.compiled.scoring import Scoring, score_end, score_token

Array = NDArray[Any]

# Multiplicative hashing (Knuth), odd and without a pattern.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SMALLEST = 1e-100


# A prefix that is known: the one without its last token, which is this; the frame of the likeliest
# entry into it; whether it is in the beam; probability of the alignments that end in a blank, of
# those that end in the last token, and of both; the first two after the frame that is searched;
# what the scorers multiply it by when it is entered, and the logarithms that they have given in
# all; and the scorers' states: nodes of the language model, of the lexicon and of the phrases,
# whether a word is open, and the look-ahead.
PREFIX = np.dtype(
    [
        ("parent", np.int32),
        ("token", np.int32),
        ("frame", np.int32),
        ("active", np.int32),
        ("blank", np.float64),
        ("label", np.float64),
        ("total", np.float64),
        ("next_blank", np.float64),
        ("next_label", np.float64),
        ("factor", np.float64),
        ("scored", np.float64),
        ("context", np.int64),
        ("ahead", np.float64),
        ("node", np.int32),
        ("phrase", np.int32),
        ("opened", np.int64),
    ],
    align=True,
)
RANKED = np.dtype([("prefix", np.int64), ("total", np.float64)], align=True)


class Limits(NamedTuple):
    """How narrow a search is.

    Attributes:
        beam_size: prefixes that are kept.
        keep: the least share of the best prefix's probability.
        most: the most that one token's scores can multiply a probability by.
        scored: whether there are scorers.
    """

    beam_size: int
    keep: float
    most: float
    scored: bool


class Beam(NamedTuple):
    """A search between two frames.

    Attributes:
        prefixes: all that are known, the empty one first (N,) ``PREFIX``.
        slots: where each is found by its parent and token; 0 is an empty slot.
        kept: those in the beam, best first.
        ranking: those of the next frame while it is searched ``RANKED``.
        counts: prefixes in the beam; prefixes in all; whether the last frame was a sure blank;
            prefixes in the ranking.
        log_scale: natural logarithm of what probabilities are to be multiplied by (1,).
    """

    prefixes: Array
    slots: Array
    kept: Array
    ranking: Array
    counts: Array
    log_scale: Array


@compiled
def search_frames(
    frames: Frames,
    begin: int,
    first_frame: int,
    limits: Limits,
    beam: Beam,
    scoring: Scoring,
    chance_of: Array,
) -> int:
    """Take frames until all are done or there is no room for more prefixes.

    Args:
        frames: of a stretch.
        begin: the first one to take.
        first_frame: how many the utterance had before the stretch.
        limits: how narrow.
        beam: changed.
        scoring: its memory is changed.
        chance_of: a zero for each token.

    Returns:
        The first frame that was not taken.
    """
    counts, prefixes = beam.counts, beam.prefixes
    for index in range(begin, len(frames.sure)):
        if frames.sure[index]:
            if not counts[2]:
                for prefix in beam.kept[: counts[0]]:
                    prefixes[prefix].blank = prefixes[prefix].total
                    prefixes[prefix].label = 0.0
            counts[2] = 1
            continue
        first, last = frames.starts[index], frames.starts[index + 1]
        if counts[1] + counts[0] * (last - first) > len(prefixes):
            return index
        counts[2] = 0
        counts[3] = 0
        tokens, chances = frames.tokens[first:last], frames.chances[first:last]
        for place in range(len(tokens)):
            chance_of[tokens[place]] = chances[place]
        floor = stay(beam, frames.blanks[index], first_frame + index, chance_of, limits)
        extend(beam, tokens, chances, floor, limits, scoring)
        settle(beam, first_frame + index, limits)
        for place in range(len(tokens)):
            chance_of[tokens[place]] = 0.0
    return len(frames.sure)


@inner
def stay(beam: Beam, p_blank: float, frame: int, chance_of: Array, limits: Limits) -> float:
    """Write and rank what becomes of the beam's own prefixes; give what others need to come in."""
    prefixes = beam.prefixes
    best = 0.0
    for place in range(beam.counts[0]):
        number = beam.kept[place]
        prefix = prefixes[number]
        blank, label = prefix.total * p_blank, 0.0
        chance = chance_of[prefix.token]
        if chance > 0.0:
            label = prefix.label * chance
            parent = prefixes[prefix.parent]
            if parent.active:
                source = parent.blank if parent.token == prefix.token else parent.total
                entering = source * chance * prefix.factor
                if entering > label + blank:
                    prefix.frame = frame
                label += entering
        prefix.next_blank, prefix.next_label = blank, label
        rank(beam, limits, number, blank + label)
        best = max(best, blank + label)
    return best * limits.keep


@inner
def extend(
    beam: Beam,
    tokens: Array,
    chances: Array,
    floor: float,
    limits: Limits,
    scoring: Scoring,
) -> None:
    """Rank the prefixes that are those of the beam with one token more."""
    prefixes, ranking = beam.prefixes, beam.ranking
    for place in range(beam.counts[0]):
        parent = beam.kept[place]
        total, blank, own = prefixes[parent].total, prefixes[parent].blank, prefixes[parent].token
        for number in range(len(tokens)):
            token, chance = tokens[number], chances[number]
            if beam.counts[3] == limits.beam_size:
                # Less than the worst of a full ranking has is ruled out by now.
                floor = max(floor, ranking[limits.beam_size - 1].total)
            if total * chance * limits.most < floor:
                break
            label = (blank if token == own else total) * chance
            if label * limits.most < floor:
                continue
            slot = find_slot(beam, parent, token)
            child = integer(beam.slots[slot])
            if child == 0:
                child = beam.counts[1]
                beam.slots[slot] = child
                beam.counts[1] = child + 1
                enter(prefixes, limits, scoring, parent, child, token)
            elif prefixes[child].active:
                continue
            label *= prefixes[child].factor
            if label >= floor and label > 0.0:
                prefixes[child].blank = 0.0
                prefixes[child].label = prefixes[child].total = label
                rank(beam, limits, child, label)


@inner
def rank(beam: Beam, limits: Limits, prefix: int, total: float) -> None:
    """Put a prefix among the best so far; who came first stays before its equals."""
    ranking, place = beam.ranking, beam.counts[3]
    if place == limits.beam_size:
        if total <= ranking[place - 1].total:
            return
        place -= 1
    else:
        beam.counts[3] += 1
    while place > 0 and ranking[place - 1].total < total:
        ranking[place].prefix = ranking[place - 1].prefix
        ranking[place].total = ranking[place - 1].total
        place -= 1
    ranking[place].prefix, ranking[place].total = prefix, total


@inner
def find_slot(beam: Beam, parent: int, token: int) -> int:
    """Give the slot that holds a prefix, or the empty one where it belongs."""
    mask = len(beam.slots) - 1
    mixed = (np.uint64(parent) * _SPREAD + np.uint64(token)) * _SPREAD
    slot = integer((mixed >> np.uint64(31)) & np.uint64(mask))
    while True:
        found = beam.slots[slot]
        if found == 0:
            return slot
        if beam.prefixes[found].parent == parent and beam.prefixes[found].token == token:
            return slot
        slot = (slot + 1) & mask


@inner
def enter(
    prefixes: Array, limits: Limits, scoring: Scoring, parent: int, child: int, token: int
) -> None:
    """Score a prefix that is met for the first time."""
    new = prefixes[child]
    new.parent, new.token, new.active = parent, token, 0
    new.factor, new.scored = 1.0, 0.0
    if limits.scored:
        score = score_token(scoring, prefixes, parent, child, token)
        new.scored = prefixes[parent].scored + score
        new.factor = math.exp(score) if score < 700 else math.inf


@inner
def settle(beam: Beam, frame: int, limits: Limits) -> None:
    """Make the ranking the beam, and its best 1 again before it becomes too small for a float."""
    prefixes, ranking = beam.prefixes, beam.ranking
    size, best = beam.counts[3], ranking[0].total
    while size > 1 and ranking[size - 1].total < best * limits.keep:
        size -= 1
    for place in range(size):
        prefix = prefixes[ranking[place].prefix]
        if not prefix.active:
            prefix.frame = frame
    for place in range(beam.counts[0]):
        prefix = prefixes[beam.kept[place]]
        prefix.blank, prefix.label = prefix.next_blank, prefix.next_label
        prefix.total = prefix.blank + prefix.label
        prefix.active = 0
    rescaled = 0.0 < best < _SMALLEST or best > 1 / _SMALLEST
    if rescaled:
        beam.log_scale[0] += math.log(best)
    for place in range(size):
        beam.kept[place] = ranking[place].prefix
        prefix = prefixes[ranking[place].prefix]
        prefix.active = 1
        if rescaled:
            prefix.blank /= best
            prefix.label /= best
            prefix.total /= best
    beam.counts[0] = size


@compiled
def score_ends(beam: Beam, scoring: Scoring, finals: Array) -> None:
    """Write what the scorers give for the end after each of the beam's prefixes."""
    for place in range(len(finals)):
        finals[place] = score_end(scoring, beam.prefixes, beam.kept[place])


@compiled_maker
def trace(prefixes: Array, prefix: int) -> tuple[Array, Array]:
    """Give the tokens of a prefix and the frames in which they were entered."""
    length, each = 0, prefix
    while each > 0:
        each, length = integer(prefixes[each].parent), length + 1
    tokens, frames = np.empty(length, np.int64), np.empty(length, np.int64)
    for place in range(length - 1, -1, -1):
        tokens[place], frames[place] = prefixes[prefix].token, prefixes[prefix].frame
        prefix = integer(prefixes[prefix].parent)
    # A prefix may have been entered anew after its continuation was.
    for place in range(length - 2, -1, -1):
        frames[place] = min(frames[place], frames[place + 1] - 1)
    for place in range(length):
        frames[place] = max(frames[place], place)
    return tokens, frames


@compiled_maker
def compact(beam: Beam) -> None:
    """Forget the prefixes that lead to none of the beam."""
    prefixes, counts = beam.prefixes, beam.counts
    new = np.full(counts[1], -1, np.int64)
    new[0] = 0
    for prefix in beam.kept[: counts[0]]:
        each = prefix
        while new[each] == -1:
            new[each] = 0
            each = integer(prefixes[each].parent)
    known = 0
    for old in range(counts[1]):
        if new[old] != -1:
            # A parent is older than its children, so it has its new place already.
            new[old] = known
            prefixes[known] = prefixes[old]
            prefixes[known].parent = new[prefixes[old].parent]
            known += 1
    for place in range(counts[0]):
        beam.kept[place] = new[beam.kept[place]]
    counts[1] = known


@compiled
def fill_slots(beam: Beam) -> None:
    """Enter all prefixes into empty slots."""
    for child in range(1, beam.counts[1]):
        slot = find_slot(beam, beam.prefixes[child].parent, beam.prefixes[child].token)
        beam.slots[slot] = child
