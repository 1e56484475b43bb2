"""An alignment tells when each word and token of a known text is said in a recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from asr.decoding.align import Alignment, align
from asr.decoding.words import Word, time_words
from asr.encoding import LogProbs
from asr.errors import AsrError
from asr.posteriors import iterate_log_probs
from asr.windows import encoder_frame_seconds

if TYPE_CHECKING:
    from asr.transcriber import Transcriber

# Frames times states: a byte each while the best path is traced back.
MOST_CELLS = 4_000_000_000
# Utterances aligned together on a GPU.
_BATCH = 16


@dataclass(frozen=True)
class AlignedToken:
    """A token and the frames that it takes, in seconds.

    Attributes:
        text: what it adds to the text; a space stands as such.
        start: where its first frame begins.
        end: where its last frame ends.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class AlignedUtterance:
    """A recording and where its words lie.

    Attributes:
        id: of the utterance, or the file's name.
        path: the audio file.
        text: what is said, as it was given.
        duration_seconds: length of its frames.
        words: with times, and with the confidence that the model itself would have in them.
        tokens: with times.
        log_prob: natural logarithm of the best path's probability.
        error: why there is no alignment, or None.
    """

    id: str
    path: str
    text: str
    duration_seconds: float = 0.0
    words: tuple[Word, ...] = ()
    tokens: tuple[AlignedToken, ...] = ()
    log_prob: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class Spoken:
    """A recording and what is said in it.

    Attributes:
        id: names it.
        path: the audio file.
        text: words separated by single spaces.
    """

    id: str
    path: str
    text: str


def align_recordings(
    recognizer: "Transcriber",
    recordings: Sequence[Spoken],
    *,
    batch_seconds: float = 120.0,
    workers: int = 2,
) -> Iterator[AlignedUtterance]:
    """Align texts with their recordings.

    Args:
        recognizer: its model tells where tokens lie.
        recordings: what to align; any one that fails leaves the others alone.
        batch_seconds: seconds of audio that are encoded together.
        workers: threads that read audio ahead.

    Yields:
        One alignment for each, in the same order; ``error`` says what went wrong.
    """
    # What cannot be aligned whatever the sound is needs no encoding.
    encoded = [_encode_text(recognizer, each) for each in recordings]
    paths = [
        each.path
        for each, tokens in zip(recordings, encoded, strict=True)
        if not isinstance(tokens, str)
    ]
    found = iterate_log_probs(recognizer, paths, batch_seconds=batch_seconds, workers=workers)
    prepared = (
        tokens if isinstance(tokens, str) else _checked(each, tokens, next(found))
        for each, tokens in zip(recordings, encoded, strict=True)
    )
    device = str(recognizer.device)
    size = 1 if device == "cpu" else _BATCH
    waiting = iter(zip(recordings, prepared, strict=True))
    while some := list(islice(waiting, size)):
        good = [entry for _, entry in some if not isinstance(entry, str)]
        alignments = iter(_align_all(good, device))
        for each, entry in some:
            if isinstance(entry, str):
                yield AlignedUtterance(each.id, each.path, each.text, error=entry)
                continue
            yield _timed(recognizer, each, entry[0], next(alignments))


def _encode_text(recognizer: "Transcriber", spoken: Spoken) -> list[int] | str:
    """Give the tokens, or in a sentence why there are none."""
    if not spoken.text.split():
        return f"{spoken.path}: the text is empty; expected the words that are said"
    try:
        return recognizer.tokenizer.encode(" ".join(spoken.text.split()))
    except AsrError as error:
        return f"{spoken.path}: {error}"


def _checked(
    spoken: Spoken, tokens: list[int], log_probs: LogProbs | str
) -> tuple[LogProbs, list[int]] | str:
    """Give what can be aligned, or in a sentence why it cannot."""
    if isinstance(log_probs, str):
        return log_probs
    frames = len(log_probs)
    # One a token, and a blank between equal neighbours.
    needed = len(tokens) + sum(one == other for one, other in pairwise(tokens))
    if frames * (2 * len(tokens) + 1) > MOST_CELLS:
        return (
            f"{spoken.path}: {frames} frames and {len(tokens)} tokens are too much to align at "
            "once; cut the recording and its text into parts of half an hour"
        )
    if needed > frames:
        return (
            f"{spoken.path}: the text has {len(tokens)} tokens and needs {needed} frames, the "
            f"recording has {frames}; is it the text of this recording?"
        )
    return log_probs, tokens


def _align_all(
    prepared: Sequence[tuple[LogProbs, list[int]]], device: str
) -> list[Alignment | None]:
    if device == "cpu":
        return [align(log_probs, tokens) for log_probs, tokens in prepared]
    if not prepared:
        return []
    import torch

    from asr.decoding.align_batch import align_batch

    frames, tokens = zip(*prepared, strict=True)
    pad = torch.nn.utils.rnn.pad_sequence
    return align_batch(
        pad([torch.from_numpy(rows) for rows in frames], batch_first=True).to(device),
        torch.tensor([len(rows) for rows in frames]),
        pad([torch.tensor(row) for row in tokens], batch_first=True),
        torch.tensor([len(row) for row in tokens]),
    )


def _timed(
    recognizer: "Transcriber", spoken: Spoken, log_probs: LogProbs, alignment: Alignment | None
) -> AlignedUtterance:
    seconds = encoder_frame_seconds(recognizer.acoustic)
    text = " ".join(spoken.text.split())
    if alignment is None:
        message = f"{spoken.path}: the model gives this text no probability at all"
        return AlignedUtterance(spoken.id, spoken.path, text, error=message)
    words = time_words(
        log_probs,
        alignment.tokens,
        alignment.first_frames,
        recognizer.tokenizer,
        seconds,
        recognizer.decoder_options.calibration,
    )
    pieces = recognizer.tokenizer.pieces
    spans = zip(alignment.tokens, alignment.first_frames, alignment.last_frames, strict=True)
    return AlignedUtterance(
        spoken.id,
        spoken.path,
        text,
        len(log_probs) * seconds,
        words,
        tuple(
            AlignedToken(pieces[token], first * seconds, (last + 1) * seconds)
            for token, first, last in spans
        ),
        alignment.log_prob,
    )
