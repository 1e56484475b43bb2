"""All scorers of a search over arrays: one token more, and the end of a text."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from asr.decoding.compiled.jit import inner, integer, real
from asr.decoding.compiled.ngram import (
    Memory,
    ahead,
    child_of,
    end_word,
    score_word,
)
from asr.decoding.tables import (
    TOKEN_LM,
    WORD_LM,
    BonusTables,
    LmTables,
    PhraseTables,
    PieceTables,
)

Array = NDArray[Any]

_ROOT, _NONE = 0, -1
_END = 2
_SPACE = 32


class Scoring(NamedTuple):
    """The scorers of a search; those that are absent have tables that add nothing."""

    lm: LmTables
    phrases: PhraseTables
    bonus: BonusTables
    pieces: PieceTables
    memory: Memory


@inner
def score_token(scoring: Scoring, prefixes: Array, parent: int, child: int, token: int) -> float:
    """Score a token after a prefix, and write the states of the prefix that it makes."""
    lm, pieces, phrases = scoring.lm, scoring.pieces, scoring.phrases
    before, after = prefixes[parent], prefixes[child]
    total = 0.0
    context, node = before.context, integer(before.node)
    begin, end = pieces.start[token], pieces.start[token + 1]
    if lm.kind == WORD_LM:
        score = -before.ahead
        for place in range(begin, end):
            letter = pieces.letter[place]
            if letter == _SPACE and node != _ROOT:
                ended, context = end_word(lm, context, node)
                score += ended
                node = integer(_ROOT)
            elif letter != _SPACE and node != _NONE:
                node = child_of(lm.lexicon.nodes, node, letter)
        after.ahead = ahead(lm, scoring.memory, context, node)
        # Rounding must not make a bound of 0 untrue.
        total += min(0.0, (score + after.ahead) * lm.scale)
    elif lm.kind == TOKEN_LM:
        score, context = score_word(lm.trie, context, integer(lm.token_ids[token]))
        total += score * lm.scale
    effect = scoring.bonus.effects[before.opened, token]
    total += scoring.bonus.bonus * effect.begun
    phrase = integer(before.phrase)
    if len(phrases.nodes) > 0:
        for place in range(begin, end):
            gained, phrase = phrase_letter(phrases, phrase, pieces.letter[place])
            total += gained
    after.context, after.node = context, node
    after.opened, after.phrase = effect.opened, phrase
    return real(total)


@inner
def phrase_letter(phrases: PhraseTables, node: int, letter: int) -> tuple[float, int]:
    """Take a letter in the automaton of phrases: what it adds, and the node after it."""
    nodes, edges = phrases.nodes, phrases.edges
    if letter == _SPACE and nodes[node].space:
        # Several spaces are one.
        return 0.0, node
    following = node
    while True:
        place, end = nodes[following].first_child, nodes[following + 1].first_child
        while place < end and edges[place].letter < letter:
            place += 1
        if place < end and edges[place].letter == letter:
            following = integer(edges[place].child)
            break
        if following == _ROOT:
            break
        following = integer(nodes[following].fail)
    gained = nodes[following].partial - nodes[node].partial + nodes[following].complete
    return gained, following


@inner
def score_end(scoring: Scoring, prefixes: Array, prefix: int) -> float:
    """Score the end of a text."""
    lm, phrases, last = scoring.lm, scoring.phrases, prefixes[prefix]
    total, context = 0.0, last.context
    if lm.kind == WORD_LM:
        score = -last.ahead
        if last.node != _ROOT:
            ended, context = end_word(lm, context, integer(last.node))
            score += ended
        total += (score + score_word(lm.trie, context, _END)[0]) * lm.scale
    elif lm.kind == TOKEN_LM:
        total += score_word(lm.trie, context, _END)[0] * lm.scale
    if len(phrases.nodes) > 0:
        gained, phrase = phrase_letter(phrases, integer(last.phrase), _SPACE)
        total += gained - phrases.nodes[phrase].partial
    return real(total)
