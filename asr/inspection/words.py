"""Words in time: where a model's own best CTC path puts each word."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decoding import greedy_decode
from asr.tokenizer import SentencePieceTokenizer, Tokenizer

_PIECE_SPACE = "\u2581"


@dataclass(frozen=True)
class TimedWord:
    """A word and the encoder frames that the best path gives it.

    CTC is free to put a token anywhere its loss allows, mostly at a single frame somewhere within
    or behind the sound. These are the model's own times and not the times at which the word was
    said.

    Attributes:
        text: the word.
        first: the frame in which its first token starts.
        last: the frame in which its last token starts.
    """

    text: str
    first: int
    last: int


def align_words(log_probs: Tensor, tokenizer: Tokenizer) -> tuple[TimedWord, ...]:
    """Read the words and their frames off the best path of CTC.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        tokenizer: tells what a token id stands for.

    Returns:
        The words in order; joined by spaces they are the greedy transcript.
    """
    lengths = torch.tensor([len(log_probs)])
    hypothesis = greedy_decode(log_probs.unsqueeze(0), lengths)[0]
    words: list[TimedWord] = []
    open_word = False
    for text, frame in _texts(hypothesis.tokens, hypothesis.frames, tokenizer):
        for position, part in enumerate(text.split(" ")):
            open_word = open_word and not position
            if not part:
                continue
            if open_word:
                word = words.pop()
                words.append(TimedWord(word.text + part, word.first, frame))
            else:
                words.append(TimedWord(part, frame, frame))
            open_word = True
    return tuple(words)


def _texts(
    tokens: tuple[int, ...], frames: tuple[int, ...], tokenizer: Tokenizer
) -> Iterator[tuple[str, int]]:
    names = token_names(tokenizer)
    yield from ((names[token], frame) for token, frame in zip(tokens, frames, strict=True))


def token_names(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Tell what each id adds to a text, spaces written as such."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        return tuple(token.replace(_PIECE_SPACE, " ") for token in tokenizer.tokens)
    return tokenizer.tokens
