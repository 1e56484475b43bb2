"""What a scorer knows, as arrays: what the compiled beam search reads in place of its methods."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

NO_LM, WORD_LM, TOKEN_LM = 0, 1, 2


class TrieTables(NamedTuple):
    """An n-gram model: the arrays of ``asr.lm.ngram.Trie``."""

    word: Array
    log10_prob: Array
    log10_backoff: Array
    first_child: Array
    link: Array


# A node of a trie of letters over the sorted list of words that a model of words scores: the places
# of the words that begin so, from `low` to `high`; where its children begin, which end where those
# of the next node begin; the code point that leads to it, in order among children; the model's id
# of the word that ends in it, or -1; the decimal logarithm of its likeliest unigram; whether one of
# its words is a name that the model lacks.
LEXICON_NODE = np.dtype(
    [
        ("low", np.int32),
        ("high", np.int32),
        ("first_child", np.int32),
        ("letter", np.int32),
        ("word", np.int32),
        ("named", np.int32),
        ("best", np.float64),
    ],
    align=True,
)
# A node of the automaton of phrases: where its children begin, the node of the longest ending that
# begins a phrase, whether its last letter is a space; what matches under way and those that end
# here have added.
PHRASE_NODE = np.dtype(
    [
        ("first_child", np.int32),
        ("fail", np.int32),
        ("space", np.int64),
        ("partial", np.float64),
        ("complete", np.float64),
    ],
    align=True,
)
# A way from one of these nodes to another.
PHRASE_EDGE = np.dtype([("letter", np.int32), ("child", np.int32)], align=True)
# What a token does: words that it begins, and whether a word is open after it.
BONUS_EFFECT = np.dtype([("begun", np.int32), ("opened", np.int32)], align=True)


class LexiconTables(NamedTuple):
    """The words of a model.

    Attributes:
        nodes: of the trie of letters, the root first, and one more that ends the last one's
            children (N + 1,) ``LEXICON_NODE``.
        places: the place of each of the model's words among the sorted ones, or -1 (V,) int32.
    """

    nodes: Array
    places: Array


class LmTables(NamedTuple):
    """A language model of words or of tokens.

    Attributes:
        kind: ``NO_LM``, ``WORD_LM`` or ``TOKEN_LM``.
        scale: multiplies decimal logarithms: the weight, and to natural ones.
        start: the trie's node before the first word.
        token_ids: the model's id of each token, for a model of tokens (V,) int32.
        floor: no unknown word gets less than this decimal logarithm, before the penalty.
        penalty: decimal logarithm that an unknown word which is no name costs.
        look_ahead: whether parts of words are scored.
        trie: the model.
        lexicon: its words' letters.
    """

    kind: int
    scale: float
    start: int
    token_ids: Array
    floor: float
    penalty: float
    look_ahead: bool
    trie: TrieTables
    lexicon: LexiconTables


class PhraseTables(NamedTuple):
    """The automaton of ``asr.lm.hotwords``.

    Attributes:
        start: the node at the beginning of a text.
        nodes: and one more that ends the last one's edges (N + 1,) ``PHRASE_NODE``; none at all
            where there are no phrases.
        edges: those of each node in the order of letters (C,) ``PHRASE_EDGE``.
    """

    start: int
    nodes: Array
    edges: Array


class BonusTables(NamedTuple):
    """A bonus for each word.

    Attributes:
        bonus: natural logarithm.
        effects: of each token, with no word open before it and with one (2, V) ``BONUS_EFFECT``.
    """

    bonus: float
    effects: Array


class PieceTables(NamedTuple):
    """The letters of every token.

    Attributes:
        start: where each token's letters begin, and at the end their number (V + 1,) int32.
        letter: code points (L,) int32.
    """

    start: Array
    letter: Array


class ScorerTables(NamedTuple):
    """What all scorers of a search know; those that are absent add nothing.

    Attributes:
        pieces: letters of the tokens.
        lm: a language model.
        phrases: phrases that are preferred.
        bonus: of each word.
    """

    pieces: PieceTables
    lm: LmTables
    phrases: PhraseTables
    bonus: BonusTables


class Tabulated(Protocol):
    """A scorer that can tell what it knows as arrays."""

    pieces: tuple[str, ...]

    def tables(self) -> LmTables | PhraseTables | BonusTables:
        """Lay out what the scorer knows."""


def join_tables(scorers: Sequence[Any]) -> ScorerTables | None:
    """Lay out what the scorers of a search know.

    Args:
        scorers: whose scores add up.

    Returns:
        All of it, or None where a scorer is none of the known kinds or a kind comes twice.
    """
    if not all(hasattr(scorer, "tables") for scorer in scorers):
        return None
    pieces: tuple[str, ...] = scorers[0].pieces if scorers else ()
    found: dict[type, Any] = {
        LmTables: NO_LANGUAGE_MODEL,
        PhraseTables: PhraseTables(0, frozen([], PHRASE_NODE), frozen([], PHRASE_EDGE)),
        BonusTables: BonusTables(0.0, frozen(np.zeros((2, len(pieces))), BONUS_EFFECT)),
    }
    taken = [scorer.tables() for scorer in scorers]
    if len({type(each) for each in taken}) < len(taken):
        return None
    found |= {type(each): each for each in taken}
    lengths = np.cumsum([0, *map(len, pieces)])
    letters = PieceTables(frozen(lengths, np.int32), code_points("".join(pieces)))
    return ScorerTables(letters, found[LmTables], found[PhraseTables], found[BonusTables])


def frozen(values: Any, dtype: DTypeLike) -> Array:
    """Give values as a contiguous array that nobody can change, as those of a mapped file are.

    Args:
        values: an array or a list.
        dtype: of the array.
    """
    made = np.array(values, dtype, order="C")
    made.setflags(write=False)
    return made


def code_points(text: str) -> Array:
    """Give the code points of a text (L,) int32."""
    return frozen(np.frombuffer(text.encode("utf-32-le"), np.int32), np.int32)


_FLOATS, _INDEX = frozen([], np.float32), frozen([], np.uint32)
NO_LEXICON = LexiconTables(frozen([], LEXICON_NODE), frozen([], np.int32))
NO_LANGUAGE_MODEL = LmTables(
    NO_LM,
    scale=0.0,
    start=0,
    token_ids=frozen([], np.int32),
    floor=0.0,
    penalty=0.0,
    look_ahead=False,
    trie=TrieTables(_INDEX, _FLOATS, _FLOATS, _INDEX, _INDEX),
    lexicon=NO_LEXICON,
)
