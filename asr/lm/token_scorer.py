"""A scorer that asks an n-gram model of tokens."""

import math

import numpy as np

from asr.decoding.tables import NO_LEXICON, TOKEN_LM, LmTables, frozen
from asr.errors import UsageError
from asr.lm.ngram import NGramModel, require_unit
from asr.lm.tokens import fingerprint, token_names
from asr.tokenizer import Tokenizer

LN10 = math.log(10)
# Answers that are kept.
_CACHED = 1 << 20


class TokenNGramScorer:
    """Scores every token by an n-gram model of tokens.

    Args:
        model: counts the tokenizer's tokens.
        tokenizer: of the acoustic model.
        weight: multiplies the model's natural logarithms.

    Raises:
        LanguageModelError: the model counts words, or the tokens of another tokenizer.
        UsageError: the weight is negative.
    """

    def __init__(self, model: NGramModel, tokenizer: Tokenizer, weight: float = 1.0) -> None:
        require_unit(model, "token", fingerprint(tokenizer))
        check_weight(weight)
        self.model = model
        self.pieces = tokenizer.pieces
        self.highest = 0.0
        self._scale = weight * LN10
        self._ids = [model.word_id(name) for name in token_names(tokenizer)]
        self._known: dict[tuple[int, int], tuple[float, int]] = {}

    def tables(self) -> LmTables:
        return LmTables(
            TOKEN_LM,
            self._scale,
            self.model.start(),
            frozen(self._ids, np.int32),
            0.0,
            0.0,
            False,
            self.model.trie.tables(),
            NO_LEXICON,
        )

    def start(self) -> int:
        return self.model.start()

    def score(self, state: int, token: int) -> tuple[float, int]:
        found = self._known.get((state, token))
        if found is None:
            if len(self._known) > _CACHED:
                self._known.clear()
            log10_prob, following = self.model.score(state, self._ids[token])
            found = self._known[state, token] = log10_prob * self._scale, following
        return found

    def final(self, state: int) -> float:
        return self.model.final(state) * self._scale


def check_weight(weight: float) -> None:
    """Refuse a weight that turns probabilities around.

    Raises:
        UsageError: it is negative or no number.
    """
    if not 0 <= weight < math.inf:
        raise UsageError(
            f"the language model's weight is {weight}; expected 0 or more, such as 0.5"
        )
