"""A draft: what is known of a recording while its frames still come in."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.words import Word, WordCalibration, time_words
from asr.encoding import Encoded
from asr.recordings import Recording
from asr.segments import DEFAULT_SHAPE, Shape, make_segments
from asr.tokenizer import Tokenizer
from asr.transcript import Candidate, Candidates, Transcript, in_time
from asr.windows import find_pause

# Recordings up to this length are decoded whole; longer ones in parts of about this length, cut in
# the longest pause of the last minute: memory stays bounded, and no word is cut.
PART_SECONDS = 600.0
PAUSE_SECONDS = 60.0


class ChannelDraft:
    """Decodes the frames of one recording as they come.

    Args:
        decoder: turns log-probabilities into hypotheses.
        tokenizer: turns their tokens into words.
        frame_seconds: distance of encoder frames.
        calibration: of the words' times and confidences.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        frame_seconds: float,
        calibration: WordCalibration,
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._frame_seconds = frame_seconds
        self._calibration = calibration
        self._held: list[NDArray[np.float32]] = []
        self._held_frames = 0
        self._decoded_frames = 0
        self._texts: list[str] = []
        self.words: list[Word] = []
        self.nbest: list[tuple[float, float, tuple[Candidate, ...]]] = []
        self.log_prob = 0.0
        self.seconds_spent = 0.0

    @property
    def text(self) -> str:
        """The words so far."""
        return " ".join(text for text in self._texts if text)

    def add(
        self,
        log_probs: NDArray[np.float32],
        last: bool,
        found: tuple[Hypothesis, ...] | None = None,
    ) -> None:
        """Take the next frames ``(U, V)``; decode what is complete, all of it at the end.

        Args:
            log_probs: the frames.
            last: whether no more follow.
            found: what a decoder found in them, where they are a whole recording.
        """
        started = time.perf_counter()
        if found is None:
            self._take(log_probs, last)
        else:
            self._take_part(log_probs, found)
        self.seconds_spent += time.perf_counter() - started

    def _take(self, log_probs: NDArray[np.float32], last: bool) -> None:
        self._held.append(log_probs)
        self._held_frames += len(log_probs)
        part = int(PART_SECONDS / self._frame_seconds)
        if not last and self._held_frames < part:
            return
        held = np.concatenate(self._held)
        while len(held) >= part:
            end = held[part - int(PAUSE_SECONDS / self._frame_seconds) : part]
            cut = part - len(end) + find_pause(end, end)
            self._decode_part(held[:cut])
            held = held[cut:]
        if last:
            self._decode_part(held)
            held = held[:0]
        # A copy: a slice would keep the decoded frames in memory.
        self._held, self._held_frames = [held.copy()], len(held)

    def _decode_part(self, log_probs: NDArray[np.float32]) -> None:
        self._take_part(log_probs, self._decoder.decode(log_probs))

    def _take_part(self, log_probs: NDArray[np.float32], found: tuple[Hypothesis, ...]) -> None:
        hypothesis = found[0]
        self.log_prob += hypothesis.log_prob
        self._texts.append(self._tokenizer.decode(hypothesis.tokens))
        start = self._decoded_frames * self._frame_seconds
        if self._decoder.nbest > 1 and len(log_probs):
            candidates = tuple(
                Candidate(self._tokenizer.decode(each.tokens), each.log_prob, each.score)
                for each in found
            )
            self.nbest.append((start, start + len(log_probs) * self._frame_seconds, candidates))
        self.words += [
            Word(word.text, word.start + start, word.end + start, word.probability)
            for word in time_words(
                log_probs,
                hypothesis.tokens,
                hypothesis.frames,
                self._tokenizer,
                self._frame_seconds,
                self._calibration,
            )
        ]
        self._decoded_frames += len(log_probs)


def decode_together(
    decoder: Decoder, parts: Iterable[Encoded], frame_seconds: float
) -> Iterator[tuple[Encoded, tuple[Hypothesis, ...] | None]]:
    """Decode short recordings in batches, where the decoder gains by that.

    Args:
        decoder: as ``ChannelDraft`` has it.
        parts: frames of recordings.
        frame_seconds: distance of encoder frames.

    Yields:
        The parts in their order; with what was found in them where they are whole recordings.
    """
    if decoder.batch_size == 1:
        yield from ((part, None) for part in parts)
        return
    held: list[Encoded] = []
    whole: list[int] = []
    under_way: set[tuple[int, str]] = set()

    def decoded() -> Iterator[tuple[Encoded, tuple[Hypothesis, ...] | None]]:
        batch = [held[place].log_probs for place in whole]
        found = dict(zip(whole, decoder.decode_batch(batch) if batch else (), strict=True))
        yield from ((part, found.get(place)) for place, part in enumerate(held))
        held.clear()
        whole.clear()

    for part in parts:
        key = (part.recording.index, part.recording.channel)
        short = 0 < len(part.log_probs) < int(PART_SECONDS / frame_seconds)
        if part.last and part.error is None and key not in under_way and short:
            whole.append(len(held))
        (under_way.discard if part.last else under_way.add)(key)
        held.append(part)
        if len(whole) == decoder.batch_size:
            yield from decoded()
    yield from decoded()


class Draft:
    """Collects the channels of one input until its transcript is complete.

    Args:
        channels: how many recordings there are of it.
        channel: what was asked for: ``"mix"``, ``"split"`` or a channel's number.
        shape: how large segments may become.
    """

    def __init__(self, channels: int, channel: str, shape: Shape = DEFAULT_SHAPE) -> None:
        self._channels = channels
        self._channel = channel
        self._shape = shape
        self._done: list[tuple[Recording, ChannelDraft]] = []
        self._errors: list[str] = []

    def add(self, recording: Recording, draft: ChannelDraft, error: str | None) -> bool:
        """Take a channel whose frames are all decoded, or that failed.

        Returns:
            Whether all channels are there.
        """
        self._done.append((recording, draft))
        if error is not None and error not in self._errors:
            self._errors.append(error)
        return len(self._done) == self._channels

    def transcript(self) -> Transcript:
        """Put the channels together."""
        done = sorted(self._done, key=lambda pair: (len(pair[0].channel), pair[0].channel))
        first = done[0][0]
        error = "; ".join(self._errors) or None
        warnings: dict[str, None] = {}
        for recording, _ in done:
            warnings |= dict.fromkeys(recording.warnings)
        segments = [
            segment
            for recording, draft in done
            for segment in make_segments(draft.words, recording.channel, self._shape)
        ]
        return Transcript(
            path=first.path,
            text="" if error else "\n".join(draft.text for _, draft in done),
            duration_seconds=first.duration_seconds,
            decoded_seconds=first.decoded_seconds,
            log_prob=0.0 if error else sum(draft.log_prob for _, draft in done),
            warnings=tuple(warnings),
            error=error,
            segments=() if error else in_time(segments),
            channel=self._channel,
            declared_seconds=first.declared_seconds,
            nbest=()
            if error
            else tuple(
                Candidates(start, end, recording.channel, candidates)
                for recording, draft in done
                for start, end, candidates in draft.nbest
            ),
            processing_seconds=sum(
                recording.seconds_read + draft.seconds_spent for recording, draft in done
            ),
        )
