"""What transcribes recordings, whatever computes the log-probabilities."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from asr.decoding.decoder import BeamDecoder, Decoder, GreedyDecoder
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.decoding.rivals import settling
from asr.decoding.search import make_search
from asr.draft import ChannelDraft, Draft, decode_together
from asr.encoding import AcousticModel, Encoding, ListSource, LogProbs
from asr.errors import AudioError, UsageError
from asr.recordings import MIX, SPLIT, Loader, Reader, Recording
from asr.resampling import resample
from asr.segments import DEFAULT_SHAPE, Shape
from asr.tokenizer import Tokenizer
from asr.transcript import Transcript
from asr.windows import Chunking, encoder_frame_seconds


@dataclass(frozen=True)
class TranscribeOptions:
    """How recordings are transcribed.

    Attributes:
        channel: ``"mix"`` for the mean of all channels, ``"split"`` for each on its own, or the
            number of one, from 1.
        chunking: how long recordings are cut; None: ``asr.windows.DEFAULT_CHUNKING``.
        shape: how large segments may become.
        batch_seconds: seconds of audio that are encoded together; changes speed and memory and
            never the text.
        workers: threads that read audio ahead.

    Raises:
        UsageError: no such channel, or a number that is too small.
    """

    channel: str = MIX
    chunking: Chunking | None = None
    shape: Shape = DEFAULT_SHAPE
    batch_seconds: float = 120.0
    workers: int = 2

    def __post_init__(self) -> None:
        if self.channel not in (MIX, SPLIT) and not (
            self.channel.isascii() and self.channel.isdigit() and int(self.channel) > 0
        ):
            raise UsageError(f"channel is '{self.channel}'; expected mix, split or a number from 1")
        if not self.batch_seconds > 0:
            raise UsageError(f"batch_seconds is {self.batch_seconds}; expected more than 0")
        if self.workers < 0:
            raise UsageError(f"workers is {self.workers}; expected threads, 0 or more")


class Transcriber:
    """Reads recordings, encodes them in batches, decodes and gives transcripts.

    Args:
        acoustic: computes log-probabilities.
        tokenizer: turns token ids into text.
        name: what transcripts call the model.
        decoder_options: how to decode, and what was fitted for times and confidences of words.
        decoder: turns log-probabilities into hypotheses; None: what ``decoder_options`` say.
    """

    # Where log-probabilities are computed: a torch.device, or its name where there is no torch.
    device: Any = "cpu"
    # What computes them: one of ``asr.runtime.backends.BACKENDS``.
    backend: str = "torch"

    def __init__(
        self,
        acoustic: AcousticModel,
        tokenizer: Tokenizer,
        *,
        name: str = "",
        decoder_options: DecoderOptions = DEFAULT_OPTIONS,
        decoder: Decoder | None = None,
    ) -> None:
        self.acoustic = acoustic
        self.tokenizer = tokenizer
        self.name = name
        self.decoder_options = decoder_options
        self.decoder = decoder or _decoder_of(decoder_options)

    def transcribe(
        self,
        audio: Path | str | np.ndarray,
        sample_rate: int | None = None,
        options: TranscribeOptions | None = None,
    ) -> Transcript:
        """Transcribe one recording of any length.

        Args:
            audio: a file, or a mono waveform ``(S,)`` within [-1, 1].
            sample_rate: of a waveform; files say their own.
            options: how; ``TranscribeOptions()`` when None.

        Raises:
            AudioError: the file cannot be read, or the waveform is empty, not one-dimensional, not
                of floats or not finite.
            UsageError: a waveform without a sample rate.
        """
        options = options or TranscribeOptions()
        if isinstance(audio, (str, Path)):
            transcript = next(self.transcribe_many([audio], options=options))
        else:
            recording = self._from_waveform(np.asarray(audio), sample_rate)
            encoding = self._encoding(ListSource([recording]), options)
            (_, transcript) = next(self._transcripts(encoding, options))
        if transcript.error:
            raise AudioError(transcript.error)
        return transcript

    def transcribe_many(
        self,
        paths: Sequence[Path | str],
        *,
        batch_seconds: float = 120.0,
        workers: int = 2,
        options: TranscribeOptions | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[Transcript]:
        """Transcribe files, several at a time, and give the results in the files' order.

        Args:
            paths: audio files.
            batch_seconds: see ``TranscribeOptions``; used where ``options`` is None.
            workers: see ``TranscribeOptions``; used where ``options`` is None.
            options: how to transcribe.
            progress: called with the seconds of audio that were encoded since it was called last.

        Yields:
            A transcript for each file; what could not be read carries its ``error``.
        """
        options = options or TranscribeOptions(batch_seconds=batch_seconds, workers=workers)
        done: dict[int, Transcript] = {}
        following = 0
        for index, transcript in self.transcribe_unordered(paths, options, progress):
            done[index] = transcript
            while following in done:
                yield done.pop(following)
                following += 1

    def transcribe_unordered(
        self,
        paths: Sequence[Path | str],
        options: TranscribeOptions,
        progress: Callable[[float], None] | None = None,
    ) -> Generator[tuple[int, Transcript], None, None]:
        """Transcribe files and give each result as soon as it is there.

        Args:
            paths: audio files.
            options: how to transcribe.
            progress: as for ``transcribe_many``.

        Yields:
            The position of a file in ``paths``, and its transcript.
        """
        loader = Loader(
            paths,
            self.acoustic.features,
            channel=options.channel,
            workers=options.workers,
        )
        try:
            yield from self._transcripts(self._encoding(loader, options, progress), options)
        finally:
            loader.close()

    def _log_probs(self, audio: Path | str) -> LogProbs:
        source = ListSource(Reader(self.acoustic.features).read(0, audio))
        found = [np.empty((0, self.acoustic.vocabulary_size), np.float32)]
        for part in self._encoding(source, TranscribeOptions()):
            if part.error is not None:
                raise AudioError(part.error)
            found.append(part.log_probs)
        return np.concatenate(found)

    def _encoding(
        self,
        source: Loader | ListSource,
        options: TranscribeOptions,
        progress: Callable[[float], None] | None = None,
    ) -> Encoding:
        return Encoding(
            self.acoustic,
            source,
            chunking=options.chunking,
            batch_seconds=options.batch_seconds,
            progress=progress,
        )

    def _from_waveform(self, waveform: np.ndarray, sample_rate: int | None) -> Recording:
        if sample_rate is None or sample_rate < 1:
            raise UsageError("a waveform needs its sample_rate, such as sample_rate=16000")
        if not np.issubdtype(waveform.dtype, np.floating):
            raise AudioError(
                f"the waveform is of type {waveform.dtype}; expected floats within [-1, 1]: divide "
                "16-bit integers by 32768"
            )
        if waveform.ndim != 1 or not waveform.size or not np.isfinite(waveform).all():
            raise AudioError(
                f"the waveform has shape {waveform.shape}; expected finite samples (S,), S > 0"
            )
        seconds = len(waveform) / sample_rate
        resampled = resample(waveform.astype(np.float32), sample_rate, self.acoustic.sample_rate)
        recording = Reader(self.acoustic.features).from_waveform(resampled)
        return replace(recording, duration_seconds=seconds, decoded_seconds=seconds)

    def _transcripts(
        self, encoding: Encoding, options: TranscribeOptions
    ) -> Iterator[tuple[int, Transcript]]:
        channels: dict[tuple[int, str], ChannelDraft] = {}
        drafts: dict[int, Draft] = {}
        frame_seconds = encoder_frame_seconds(self.acoustic)
        for part, hypotheses in decode_together(self.decoder, encoding, frame_seconds):
            recording = part.recording
            key = (recording.index, recording.channel)
            channel = channels.setdefault(key, self._channel_draft())
            channel.seconds_spent += part.seconds_spent
            if part.error is None:
                channel.add(part.log_probs, part.last, hypotheses)
            if not part.last:
                continue
            draft = drafts.setdefault(
                recording.index, Draft(recording.channels, options.channel, options.shape)
            )
            if draft.add(recording, channels.pop(key), part.error):
                transcript = drafts.pop(recording.index).transcript()
                found = replace(transcript, model=self.name, decoder=self.decoder.name)
                yield recording.index, found

    def _channel_draft(self) -> ChannelDraft:
        return ChannelDraft(
            self.decoder,
            self.tokenizer,
            encoder_frame_seconds(self.acoustic),
            self.decoder_options.calibration,
        )


def _decoder_of(options: DecoderOptions) -> Decoder:
    greedy = options.kind == "greedy"
    found = GreedyDecoder() if greedy else BeamDecoder(make_search(pruning=options.pruning))
    return settling(found, options.rivals_below)
