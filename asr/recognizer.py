"""The recognizer: a trained model with its tokenizer, loaded from a folder, that transcribes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.audio import stream_audio
from asr.decoding import Hypothesis, greedy_decode
from asr.errors import AudioError, UsageError
from asr.model import CTCModel
from asr.model_folder import load_model, save_model
from asr.resampling import resample
from asr.tokenizer import Tokenizer
from asr.windows import WINDOW_SECONDS, encode


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording.

    Attributes:
        path: the audio file, or empty for a waveform.
        text: the words.
        duration_seconds: length that the file declares, or the decoded length if it declares none.
        decoded_seconds: length that could be decoded and was transcribed.
        log_prob: natural logarithm of the probability of the best path.
        warnings: what was off with the audio, in sentences.
        error: why there is no text, or None.
    """

    path: str
    text: str
    duration_seconds: float
    decoded_seconds: float
    log_prob: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Recording:
    # A recording's normalised features (T, F), ready for the encoder.
    path: str
    features: Tensor
    duration_seconds: float = 0.0
    decoded_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Recognizer:
    """Transcribes speech with a CTC model.

    Args:
        model: the model, with trained weights.
        tokenizer: turns its token ids into text.
        config: what ``build_model`` made the model from; saved with it.
        device: where to compute: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        notes: facts about the training that travel in the model folder.
    """

    def __init__(
        self,
        model: CTCModel,
        tokenizer: Tokenizer,
        config: Mapping[str, Any],
        *,
        device: str = "auto",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.config = dict(config)
        self.notes = dict(notes or {})

    @classmethod
    def load(cls, folder: Path | str, device: str = "auto") -> "Recognizer":
        """Load a model folder.

        Args:
            folder: as ``save`` or ``asr train`` wrote it.
            device: see the class.

        Raises:
            ModelFolderError: a file is missing, broken, or of a format number not known here.
        """
        saved = load_model(folder)
        return cls(saved.model, saved.tokenizer, saved.config, device=device, notes=saved.notes)

    def save(self, folder: Path | str) -> None:
        """Write the model folder; see ``save_model``."""
        save_model(folder, self.model, self.tokenizer, self.config, self.notes)

    def transcribe(
        self, audio: Path | str | np.ndarray | Tensor, sample_rate: int | None = None
    ) -> Transcript:
        """Transcribe one recording of any length.

        Args:
            audio: a file, or a mono waveform ``(S,)`` within [-1, 1].
            sample_rate: of a waveform; files say their own.

        Raises:
            AudioError: the file cannot be read, or the waveform is empty, not one-dimensional, not
                of floats or not finite.
            UsageError: a waveform without a sample rate.
        """
        if isinstance(audio, (str, Path)):
            recording = self._read(audio)
        else:
            waveform = audio.detach().cpu().numpy() if isinstance(audio, Tensor) else audio
            recording = self._from_waveform(np.asarray(waveform), sample_rate)
        transcript = self._transcripts([recording], WINDOW_SECONDS)[0]
        if transcript.error:
            raise AudioError(transcript.error)
        return transcript

    def transcribe_many(
        self, paths: Sequence[Path | str], *, batch_seconds: float = 120.0, workers: int = 2
    ) -> Iterator[Transcript]:
        """Transcribe files, several at a time, and give the results in the files' order.

        Args:
            paths: audio files.
            batch_seconds: seconds of audio that are encoded together; changes speed and memory and
                never the text.
            workers: threads that read audio ahead.

        Yields:
            A transcript for each file; what could not be read carries its ``error``.
        """
        ahead: list[_Recording] = []
        seconds = 0.0
        for recording in _read_ahead(self._read, paths, workers):
            ahead.append(recording)
            seconds += recording.decoded_seconds
            # Several batches' worth: enough to find recordings of similar length.
            if seconds >= 8 * batch_seconds:
                yield from self._transcripts(ahead, batch_seconds)
                ahead, seconds = [], 0.0
        yield from self._transcripts(ahead, batch_seconds)

    def log_probs(self, audio: Path | str) -> Tensor:
        """Compute the log-probabilities of a file.

        Returns:
            ``(U, V)`` float32, natural logarithms.

        Raises:
            AudioError: the file cannot be read.
        """
        recording = self._read(audio)
        if recording.error:
            raise AudioError(recording.error)
        return encode(self.model, [recording.features])[0]

    def _read(self, path: Path | str) -> _Recording:
        try:
            stream = stream_audio(path, self.model.sample_rate)
            blocks = (torch.from_numpy(block).to(self.device) for block in stream)
            features = self._features(blocks)
        except AudioError as error:
            return _Recording(str(path), torch.empty(0), error=str(error))
        declared = stream.declared_seconds
        decoded = stream.decoded_seconds
        return _Recording(
            str(path), features, decoded if declared is None else declared, decoded, stream.warnings
        )

    def _from_waveform(self, waveform: np.ndarray, sample_rate: int | None) -> _Recording:
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
        resampled = resample(waveform.astype(np.float32), sample_rate, self.model.sample_rate)
        features = self._features([torch.from_numpy(resampled).to(self.device)])
        return _Recording("", features, seconds, seconds)

    @torch.inference_mode()
    def _features(self, blocks: Iterable[Tensor]) -> Tensor:
        pieces = list(self.model.features.stream_log_mel(blocks))
        if not pieces:
            return torch.empty(0, self.model.features.n_mels, device=self.device)
        features = torch.cat(pieces).unsqueeze(0)
        length = torch.tensor([features.shape[1]], device=self.device)
        return self.model.features.normalized(features, length).squeeze(0)

    def _transcripts(
        self, recordings: Sequence[_Recording], batch_seconds: float
    ) -> list[Transcript]:
        encoded = encode(
            self.model, [recording.features for recording in recordings], batch_seconds
        )
        transcripts = []
        for recording, log_probs in zip(recordings, encoded, strict=True):
            text, log_prob = "", 0.0
            if recording.error is None:
                hypothesis = self._decode(log_probs)
                text, log_prob = self.tokenizer.decode(hypothesis.tokens), hypothesis.log_prob
            transcripts.append(
                Transcript(
                    recording.path,
                    text,
                    recording.duration_seconds,
                    recording.decoded_seconds,
                    log_prob,
                    recording.warnings,
                    recording.error,
                )
            )
        return transcripts

    def _decode(self, log_probs: Tensor) -> Hypothesis:
        return greedy_decode(log_probs.unsqueeze(0), torch.tensor([len(log_probs)]))[0]


def choose_device(name: str) -> torch.device:
    """Turn a device's name into the device.

    Args:
        name: ``"auto"`` takes a GPU where there is one; otherwise torch's names.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device '{name}' on this machine; expected auto, cpu, cuda, cuda:N or mps"
        ) from error
    return device


def _read_ahead(
    read: Callable[[Path | str], _Recording], paths: Sequence[Path | str], workers: int
) -> Iterator[_Recording]:
    if workers < 1:
        yield from map(read, paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        # Executor.map would read all files at once; memory must stay bounded.
        pending = [pool.submit(read, path) for path in paths[: 2 * workers]]
        for index in range(len(paths)):
            yield pending[index % (2 * workers)].result()
            following = index + 2 * workers
            if following < len(paths):
                pending[index % (2 * workers)] = pool.submit(read, paths[following])
