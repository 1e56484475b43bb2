"""A scorer that asks an n-gram model of words while words are still being spelled.

A part of a word gets what the likeliest word that begins so would get after the same words before
it (look-ahead); with every further token that is corrected, and at the word's end it is exact. So
the sum over a finished text is the sum over its words, and no correction is ever upward.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from asr.decoding.tables import WORD_LM, LmTables, frozen
from asr.errors import LanguageModelError
from asr.lm.levels import ROOT as EMPTY_CONTEXT
from asr.lm.lexicon import NONE, ROOT, Lexicon
from asr.lm.lexicon_tables import lexicon_tables
from asr.lm.ngram import NGramModel, require_unit
from asr.lm.token_scorer import LN10, check_weight
from asr.lm.vocabulary import END, SPECIAL, START, UNKNOWN
from asr.lm.workspace import Array
from asr.tokenizer import Tokenizer

# Natural logarithm that a word unknown to the model costs beside its probability.
UNKNOWN_PENALTY = -10.0
# A model that shares fewer of its words' spellings with the tokenizer is for something else.
_LEAST_SPELLED = 0.5
# Contexts with more continuations than this are asked with NumPy.
_LARGE = 64
# Words that are looked at for this.
_SAMPLE = 5000
_CACHED = 1 << 20

State = tuple[int, int]
Places = Array | list[Any]


class WordNGramScorer:
    """Scores words by an n-gram model of words, spelled in whatever tokens.

    A state is the model's state before the current word and the letters of that word as a node of
    the lexicon: ``NONE`` once no word of the model begins so.

    Args:
        model: counts words.
        tokenizer: of the acoustic model.
        weight: multiplies the model's natural logarithms.
        unknown_penalty: natural logarithm, 0 or less, that is added, before weighting, for every
            word that the model lacks, beside the probability of ``<unk>``.
        known: further words, such as names, that are scored as ``<unk>`` without the penalty.
        look_ahead: score parts of words; without it a word is scored when it ends. The sum over a
            whole text is the same.

    Raises:
        LanguageModelError: the model counts tokens, or most of its words cannot be spelled with the
            tokenizer.
        UsageError: the weight is negative.
    """

    def __init__(
        self,
        model: NGramModel,
        tokenizer: Tokenizer,
        weight: float = 1.0,
        *,
        unknown_penalty: float = UNKNOWN_PENALTY,
        known: Sequence[str] = (),
        look_ahead: bool = True,
    ) -> None:
        require_unit(model, "word")
        check_weight(weight)
        require_spelling(model, tokenizer)
        self.model = model
        self.highest = 0.0
        self._scale = weight * LN10
        self._look_ahead = look_ahead
        self.pieces = tokenizer.pieces
        self._penalty = min(0.0, unknown_penalty) / LN10
        words = {word: i for i, word in enumerate(model.words) if word not in SPECIAL}
        words |= {word: UNKNOWN for word in known if word not in words}
        self.lexicon = Lexicon(words)
        self._ids = np.array([words[word] for word in self.lexicon.words], np.int64)
        self._places = np.full(len(model.words), NONE, np.int64)
        spelled = self._ids != UNKNOWN
        self._places[self._ids[spelled]] = np.flatnonzero(spelled)
        # An unknown word is never likelier than the rarest known one, whatever <unk> has.
        trie = model.trie
        unigrams = np.asarray(trie.log10_prob[1 : 1 + len(model.words)], np.float64)
        ordinary = np.delete(unigrams, (UNKNOWN, START, END))
        self._floor = float(ordinary.min()) if len(ordinary) else float(unigrams[END])
        self._unigrams = np.where(spelled, unigrams[self._ids], -np.inf)
        self._names = np.flatnonzero(~spelled).tolist()
        self._continuations: dict[int, tuple[Places, Places]] = {}
        self._best_unigrams: dict[tuple[int, int], float] = {}
        self._unknowns: dict[int, float] = {}
        self._best: dict[State, float] = {}
        self._known: dict[tuple[State, int], tuple[float, State]] = {}

    def tables(self) -> LmTables:
        return LmTables(
            WORD_LM,
            self._scale,
            self.model.start(),
            frozen([], np.int32),
            self._floor,
            self._penalty,
            self._look_ahead,
            self.model.trie.tables(),
            lexicon_tables(self.lexicon.words, self._unigrams, self._ids, self._places),
        )

    def start(self) -> State:
        return self.model.start(), ROOT

    def score(self, state: State, token: int) -> tuple[float, State]:
        found = self._known.get((state, token))
        if found is None:
            if len(self._known) > _CACHED:
                for cache in (self._known, self._best, self._unknowns, self._continuations):
                    cache.clear()
            found = self._known[state, token] = self._score(state, token)
        return found

    def final(self, state: State) -> float:
        score, (context, _) = self._end_word(state)
        return (score + self.model.final(context)) * self._scale

    def _score(self, state: State, token: int) -> tuple[float, State]:
        total = 0.0
        for letter in self.pieces[token]:
            if letter == " ":
                score, state = self._end_word(state)
                total += score
                continue
            context, node = state
            total -= self._ahead(state)
            state = context, NONE if node == NONE else self.lexicon.child(node, letter)
            total += self._ahead(state)
        # Rounding must not make a bound of 0 untrue.
        return min(0.0, total * self._scale), state

    def _end_word(self, state: State) -> tuple[float, State]:
        context, node = state
        if node == ROOT:
            # A space after a space, or none of the text yet: no word has begun.
            return 0.0, state
        place = NONE if node == NONE else self.lexicon.word(node)
        word = UNKNOWN if place == NONE else int(self._ids[place])
        score, following = self.model.score(context, word)
        if word == UNKNOWN:
            score = self._unknown(score, penalty=place == NONE)
        return score - self._ahead(state), (following, ROOT)

    def _unknown(self, score: float, *, penalty: bool) -> float:
        return max(score, self._floor) + (self._penalty if penalty else 0.0)

    def _ahead(self, state: State) -> float:
        # The decimal logarithm of the likeliest word that can still come of these letters.
        context, node = state
        if node == ROOT or not self._look_ahead:
            return 0.0
        found = self._best.get(state)
        if found is None:
            unknown = self._unknown_in(context)
            found = self._unknown(unknown, penalty=True)
            if node != NONE:
                low, high = self.lexicon.low[node], self.lexicon.high[node]
                found = max(found, self._best_known(context, low, high))
                if bisect_left(self._names, low) < bisect_left(self._names, high):
                    found = max(found, self._unknown(unknown, penalty=False))
            self._best[state] = found
        return found

    def _unknown_in(self, context: int) -> float:
        found = self._unknowns.get(context)
        if found is None:
            found = self._unknowns[context] = self.model.score(context, UNKNOWN)[0]
        return found

    def _best_known(self, context: int, low: int, high: int) -> float:
        # At least as much as the likeliest word of the model in a range gets in a context: a word
        # may also be counted with what back-off would give it.
        trie = self.model.trie
        best, backoff = -np.inf, 0.0
        while context != EMPTY_CONTEXT:
            places, probs = self._continued(context)
            first, last = bisect_left(places, low), bisect_left(places, high)
            if first < last:
                span = probs[first:last]
                top = max(span) if isinstance(span, list) else float(span.max())
                best = max(best, backoff + top)
            backoff += float(trie.log10_backoff[context])
            context = int(trie.link[context])
        top = self._best_unigrams.get((low, high), 0.0)
        if not top:
            top = self._best_unigrams[low, high] = float(self._unigrams[low:high].max())
        return max(best, backoff + top)

    def _continued(self, context: int) -> tuple[Places, Places]:
        # The words seen after a context by their places in the lexicon, and their probabilities.
        found = self._continuations.get(context)
        if found is None:
            trie = self.model.trie
            span = slice(int(trie.first_child[context]), int(trie.first_child[context + 1]))
            places = self._places[trie.word[span]]
            order = np.argsort(places, kind="stable")
            order = order[np.searchsorted(places[order], 0) :]
            found = places[order], trie.log10_prob[span][order]
            if len(order) <= _LARGE:
                found = found[0].tolist(), found[1].tolist()
            self._continuations[context] = found
        return found


def require_spelling(model: NGramModel, tokenizer: Tokenizer) -> None:
    """Refuse a model whose words a tokenizer cannot spell.

    Raises:
        LanguageModelError: most words have letters that no token has; shows one.
    """
    letters = set("".join(tokenizer.pieces[1:]))
    words = [word for word in model.words if word not in SPECIAL]
    sample = words[:: max(1, len(words) // _SAMPLE)]
    foreign = [word for word in sample if not letters.issuperset(word)]
    if len(foreign) > (1 - _LEAST_SPELLED) * len(sample):
        letter = next(letter for letter in foreign[0] if letter not in letters)
        share = 100 * len(foreign) // len(sample)
        raise LanguageModelError(
            f"{share} % of the language model's words, such as '{foreign[0]}' with {letter!r}, "
            f"cannot be spelled with this model's characters [{''.join(sorted(letters))}]; train "
            "it on text that is normalised as the model's transcripts are"
        )
