"""Words in time: where a model's own best CTC path puts each word."""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decoding import greedy_decode
from asr.decoding.words import word_spans
from asr.tokenizer import Tokenizer


@dataclass(frozen=True)
class TimedWord:
    """A word and the encoder frames that the best path gives it.

    CTC is free to put a token anywhere its loss allows, mostly at a single frame somewhere within
    or behind the sound. These are the model's own frames and not the times at which the word was
    said, which ``asr.decoding.words.time_words`` estimates from them.

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
    return tuple(
        TimedWord(span.text, hypothesis.frames[span.first], hypothesis.frames[span.last])
        for span in word_spans(hypothesis.tokens, tokenizer)
    )
