"""Words with times and confidences, from the frames in which a decoder found their tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.tokenizer import Tokenizer

# A token of CTC stands for sound around its own frame, but seldom for more than this.
REACH_SECONDS = 0.12
# Order of Tsallis' entropy; a third is what Laptev and Ginsburg found best.
_ENTROPY_ORDER = 1 / 3
# Distributions are squared before: of five powers it separated wrong words of AN4 best.
_SHARPENING = 2.0


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Attributes:
        text: the word.
        start: where it begins, in seconds from the start of the recording.
        end: where it ends, in seconds, not behind the start of the next word.
        probability: confidence that it was said, 0 to 1.
    """

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class WordSpan:
    """A word and the tokens that it is made of.

    Attributes:
        text: the word.
        first: position of its first token in the hypothesis.
        last: position of its last token, the same for a word of one token.
    """

    text: str
    first: int
    last: int


@dataclass(frozen=True)
class WordCalibration:
    """What is fitted once for a model, on data with known words and times.

    Attributes:
        offset_seconds: added to all starts and ends.
        temperature: divides the logarithms of confidences; above 1 it raises them. Their order
            stays.
        reach_seconds: a word begins at most so long before its first peak; 0 suits a model that was
            trained to tell each token when it begins.
    """

    offset_seconds: float = 0.0
    temperature: float = 1.0
    reach_seconds: float = REACH_SECONDS


UNCALIBRATED = WordCalibration()


def time_words(
    log_probs: ArrayLike,
    tokens: Sequence[int],
    frames: Sequence[int],
    tokenizer: Tokenizer,
    frame_seconds: float,
    calibration: WordCalibration = UNCALIBRATED,
) -> tuple[Word, ...]:
    """Join tokens to words and tell when each was said and how sure it is.

    CTC marks a token by a peak of a frame or two within a longer sound. So a word begins half the
    gap before its first peak, but not farther away from it than the calibration says, and ends half
    the gap behind its last one, but not farther away than ``REACH_SECONDS``.

    A word is as sure as its least sure token. A frame in which the token is the likeliest one is
    the surer the less entropy it has, as Tsallis' entropy of order a third tells on an
    exponential scale; a token that is nowhere the likeliest has its own probability. The
    temperature makes shares of right words out of these numbers.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        tokens: L token ids, without blanks.
        frames: the encoder frame in which each token first stands; L numbers that increase.
        tokenizer: tells what a token id stands for.
        frame_seconds: distance of encoder frames.
        calibration: fitted on data that is not the data decoded.

    Returns:
        The words in order; joined by spaces they are what ``tokenizer.decode(tokens)`` gives.

    Source:
        Laptev and Ginsburg 2022, "Fast entropy-based methods of word-level confidence estimation
        for end-to-end automatic speech recognition" (arXiv 2212.08703), section 3 and table 2.
    """
    spans = word_spans(tokens, tokenizer)
    if not spans:
        return ()
    log_probs = np.asarray(log_probs)
    lasts = _last_frames(log_probs, tokens, frames)
    sure = token_confidences(log_probs, tokens, frames, lasts, calibration.temperature)
    peaks = [(frames[span.first], lasts[span.last] + 1) for span in spans]
    reach = calibration.reach_seconds / frame_seconds
    reach_behind = REACH_SECONDS / frame_seconds
    length = len(log_probs) * frame_seconds
    words: list[Word] = []
    for index, (span, (first, end)) in enumerate(zip(spans, peaks, strict=True)):
        before = peaks[index - 1][1] if index else -math.inf
        behind = peaks[index + 1][0] if index + 1 < len(spans) else math.inf
        edges = (
            first - min((first - before) / 2, reach),
            end + min((behind - end) / 2, reach_behind),
        )
        start, stop = (
            min(max(edge * frame_seconds + calibration.offset_seconds, 0.0), length)
            for edge in edges
        )
        confidence = min(sure[span.first : span.last + 1])
        words.append(Word(span.text, start, stop, confidence))
    return tuple(words)


def word_spans(tokens: Sequence[int], tokenizer: Tokenizer) -> list[WordSpan]:
    """Find the words in a row of tokens.

    Args:
        tokens: token ids, without blanks.
        tokenizer: tells what a token id stands for.

    Returns:
        The words in order; tokens that only separate words belong to none.
    """
    pieces = tokenizer.pieces
    spans: list[WordSpan] = []
    open_word = False
    for position, token in enumerate(tokens):
        for number, part in enumerate(pieces[token].split(" ")):
            open_word = open_word and not number
            if not part:
                continue
            if open_word:
                word = spans.pop()
                spans.append(WordSpan(word.text + part, word.first, position))
            else:
                spans.append(WordSpan(part, position, position))
            open_word = True
    return spans


def token_confidences(
    log_probs: ArrayLike,
    tokens: Sequence[int],
    frames: Sequence[int],
    last_frames: Sequence[int],
    temperature: float = 1.0,
) -> list[float]:
    """Tell how sure each token is, from the entropy of its frames.

    Args:
        log_probs: ``(U, V)``, natural logarithms.
        tokens: L token ids.
        frames: the first frame of each.
        last_frames: the last frame of each.
        temperature: see ``WordCalibration``.

    Returns:
        L confidences, 0 to 1.
    """
    places = [
        (position, frame)
        for position, (first, last) in enumerate(zip(frames, last_frames, strict=True))
        for frame in range(first, last + 1)
    ]
    rows = np.asarray(log_probs)[[frame for _, frame in places]].astype(np.float64)
    owner = np.array([position for position, _ in places], np.int64)
    wanted = np.array(tokens, np.int64)[owner]
    own = np.exp(rows[np.arange(len(rows)), wanted])
    sharp = _SHARPENING * rows
    sharp -= sharp.max(-1, keepdims=True)
    sharp -= np.log(np.exp(sharp).sum(-1, keepdims=True))
    sure = np.where(rows.argmax(-1) == wanted, entropy_confidence(sharp), own)
    sums = np.bincount(owner, sure, len(tokens))
    counts = np.bincount(owner, minlength=len(tokens))
    means: list[float] = (np.clip(sums / counts, 0.0, 1.0) ** (1 / temperature)).tolist()
    return means


def entropy_confidence(log_probs: ArrayLike) -> NDArray[np.float64]:
    """Measure how far distributions are from uniform: 1 for a certain one, 0 for the uniform.

    Args:
        log_probs: ``(..., V)``, natural logarithms.

    Returns:
        ``(...)``.

    Source:
        arXiv 2212.08703, Tsallis' entropy of order 1/3 with exponential normalisation.
    """
    order = _ENTROPY_ORDER
    rows = np.asarray(log_probs, np.float64)
    entropy = (1 - np.exp(order * rows).sum(-1)) / (order - 1)
    most = (1 - rows.shape[-1] ** (1 - order)) / (order - 1)
    floor = np.exp(-most)
    found: NDArray[np.float64] = (np.exp(-entropy) - floor) / (1 - floor)
    return found


def _last_frames(
    log_probs: NDArray[Any], tokens: Sequence[int], frames: Sequence[int]
) -> list[int]:
    # CTC repeats a token while its sound lasts; the next token's frame ends it anyhow.
    path: list[int] = log_probs.argmax(-1).tolist()
    lasts = []
    for position, (token, frame) in enumerate(zip(tokens, frames, strict=True)):
        limit = frames[position + 1] if position + 1 < len(frames) else len(path)
        last = frame
        while last + 1 < limit and path[last] == path[last + 1] == token:
            last += 1
        lasts.append(last)
    return lasts
