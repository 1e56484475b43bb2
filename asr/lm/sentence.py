"""Whole sentences under a language model: for perplexities and for n-best lists."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from asr.errors import LanguageModelError, TextError
from asr.lm.ngram import NGramModel, require_unit
from asr.lm.tokens import fingerprint, token_names
from asr.lm.vocabulary import END, UNKNOWN
from asr.tokenizer import Tokenizer

LN10 = math.log(10)
_BATCH = 256


@dataclass(frozen=True)
class SentenceScore:
    """What a language model says of one sentence.

    Attributes:
        log_prob: natural logarithm of its probability, the end included.
        items: words or tokens, and one for the end.
        unknown: words that the model does not know.
        unknown_log_prob: the share of these words in ``log_prob``.
    """

    log_prob: float
    items: int
    unknown: tuple[str, ...] = ()
    unknown_log_prob: float = 0.0


class SentenceModel(Protocol):
    """A language model that scores whole sentences; ``unit`` says what it counts."""

    unit: str

    def score_sentences(self, texts: Sequence[str]) -> list[SentenceScore]:
        """Score sentences, each of words separated by single spaces."""


class NGramSentences:
    """Scores sentences with an n-gram model.

    Args:
        model: of words, or of the tokenizer's tokens.
        tokenizer: needed for a model of tokens.

    Raises:
        LanguageModelError: the model counts tokens, and of another tokenizer or of none.
    """

    def __init__(self, model: NGramModel, tokenizer: Tokenizer | None = None) -> None:
        self.model = model
        self.unit = model.units.kind
        self.tokenizer = tokenizer if model.units.kind == "token" else None
        if model.units.kind == "token":
            if tokenizer is None:
                raise LanguageModelError(
                    "the language model is one of tokens; name the model whose tokens they are "
                    "with -m MODEL"
                )
            require_unit(model, "token", fingerprint(tokenizer))
            self._names = token_names(tokenizer)

    def score_sentences(self, texts: Sequence[str]) -> list[SentenceScore]:
        """Score sentences, each of words separated by single spaces."""
        items = [self._items(text) for text in texts]
        ids = [[*map(self.model.word_id, each), END] for each in items]
        scores = self._score(ids)
        return [_sentence_score(*each) for each in zip(items, ids, scores, strict=True)]

    def _items(self, text: str) -> list[str]:
        words = text.split()
        if self.tokenizer is None:
            return words
        return [self._names[token] for token in self.tokenizer.encode(" ".join(words))]

    def _score(self, sentences: Sequence[Sequence[int]]) -> list[list[float]]:
        # Of every word and end, natural logarithms; the sentences advance side by side.
        scores: list[list[float]] = [[] for _ in sentences]
        states = np.full(len(sentences), self.model.start())
        rows = np.arange(len(sentences))
        for place in range(max(map(len, sentences), default=0)):
            rows = rows[[len(sentences[row]) > place for row in rows.tolist()]]
            words = np.array([sentences[row][place] for row in rows.tolist()])
            found, states[rows] = self.model.score_batch(states[rows], words)
            for row, score in zip(rows.tolist(), (LN10 * found).tolist(), strict=True):
                scores[row].append(score)
        return scores


def _sentence_score(
    items: Sequence[str], ids: Sequence[int], scores: Sequence[float]
) -> SentenceScore:
    unknown = [place for place, word in enumerate(ids) if word == UNKNOWN]
    return SentenceScore(
        math.fsum(scores),
        len(scores),
        tuple(items[place] for place in unknown),
        math.fsum(scores[place] for place in unknown),
    )


@dataclass(frozen=True)
class Perplexity:
    """How well a language model predicts a text.

    Attributes:
        sentences: of the text.
        words: of the text.
        items: words or tokens that were predicted, and one end for each sentence.
        log_prob: natural logarithm of the whole text's probability.
        unknown: words or tokens that the model does not know, and how often they occur.
        unknown_log_prob: their share in ``log_prob``.
    """

    sentences: int
    words: int
    items: int
    log_prob: float
    unknown: Counter[str]
    unknown_log_prob: float

    @property
    def by_item(self) -> float:
        """Perplexity of a word or token, the unknown ones and the ends included."""
        return math.exp(-self.log_prob / self.items)

    @property
    def by_known_item(self) -> float:
        """Perplexity of a word or token, the unknown ones left out."""
        known = self.items - self.unknown.total()
        return math.exp(-(self.log_prob - self.unknown_log_prob) / known)

    @property
    def by_word(self) -> float:
        """Perplexity of a word, whatever the model's units are: comparable between models."""
        return math.exp(-self.log_prob / (self.words + self.sentences))


def measure_perplexity(model: SentenceModel, sentences: Iterable[str]) -> Perplexity:
    """Score a text, sentence by sentence.

    Args:
        model: the language model.
        sentences: words separated by single spaces.

    Raises:
        TextError: there is no sentence.
    """
    unknown: Counter[str] = Counter()
    logs, unknown_logs = [], []
    count = words = items = 0
    stream = iter(sentences)
    while batch := list(islice(stream, _BATCH)):
        for text, score in zip(batch, model.score_sentences(batch), strict=True):
            count += 1
            words += len(text.split())
            items += score.items
            logs.append(score.log_prob)
            unknown_logs.append(score.unknown_log_prob)
            unknown.update(score.unknown)
    if not count:
        raise TextError("the text has no sentence; expected one a line")
    return Perplexity(count, words, items, math.fsum(logs), unknown, math.fsum(unknown_logs))
