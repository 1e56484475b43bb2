"""The recognizer: a trained model with its tokenizer, loaded from a folder, that transcribes."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from torch import Tensor

from asr import __version__
from asr.audio import resample, stream_audio
from asr.decoding import Hypothesis, greedy_decode
from asr.errors import AsrError, AudioError, ModelFolderError, UsageError
from asr.files import atomic_folder, atomic_write
from asr.model import CTCModel, build_model
from asr.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
CONFIG_NAME = "config.yaml"
WEIGHTS_NAME = "model.safetensors"
# Recordings up to this length are encoded whole; longer ones in windows of this length, of which
# the context at either end only informs the frames between.
WINDOW_SECONDS = 40.0
CONTEXT_SECONDS = 5.0


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


@dataclass(frozen=True)
class _Window:
    # Features start:stop of a recording; of the encoder's frames first:last are kept.
    recording: int
    start: int
    stop: int
    first: int
    last: int


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
        folder = Path(folder)
        config = _read_config(folder)
        try:
            tokenizer = load_tokenizer(config["tokenizer"]["kind"], folder)
            model = build_model(config["model"], tokenizer.vocabulary_size)
        except (KeyError, TypeError) as error:
            raise ModelFolderError(f"{folder / CONFIG_NAME} lacks the key {error}") from error
        except AsrError as error:
            raise ModelFolderError(f"model folder {folder} is damaged: {error}") from error
        try:
            model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_NAME))
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ModelFolderError(
                f"the weights {folder / WEIGHTS_NAME} do not fit {CONFIG_NAME} beside them: {reason}"
            ) from error
        notes = config.get("training", {})
        return cls(model, tokenizer, config["model"], device=device, notes=notes)

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
            AudioError: the file cannot be read, or the waveform is not one-dimensional or finite.
            UsageError: a waveform without a sample rate.
        """
        if isinstance(audio, (str, Path)):
            recording = self._read(audio)
        else:
            recording = self._from_waveform(np.asarray(audio), sample_rate)
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
        return self._encode([recording], WINDOW_SECONDS)[0]

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
        if sample_rate is None:
            raise UsageError("a waveform needs its sample_rate, such as sample_rate=16000")
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
        transcripts = []
        for recording, log_probs in zip(
            recordings, self._encode(recordings, batch_seconds), strict=True
        ):
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

    @torch.inference_mode()
    def _encode(self, recordings: Sequence[_Recording], batch_seconds: float) -> list[Tensor]:
        # One (U, V) on the CPU for each recording, windows encoded in batches of similar length.
        windows = [
            window
            for index, recording in enumerate(recordings)
            for window in self._windows(index, len(recording.features))
        ]
        windows.sort(key=lambda window: window.stop - window.start, reverse=True)
        pieces: dict[_Window, Tensor] = {}
        for batch in self._batches(windows, batch_seconds):
            features = torch.nn.utils.rnn.pad_sequence(
                [recordings[w.recording].features[w.start : w.stop] for w in batch],
                batch_first=True,
            )
            lengths = torch.tensor([w.stop - w.start for w in batch], device=self.device)
            log_probs, _ = self.model.classify(features, lengths)
            for window, row in zip(batch, log_probs.cpu(), strict=True):
                pieces[window] = row[window.first : window.last].clone()
        vocabulary = self.tokenizer.vocabulary_size
        joined: list[list[Tensor]] = [[torch.empty(0, vocabulary)] for _ in recordings]
        for window in sorted(pieces, key=lambda window: (window.recording, window.start)):
            joined[window.recording].append(pieces[window])
        return [torch.cat(parts) for parts in joined]

    def _windows(self, recording: int, frames: int) -> Iterator[_Window]:
        # Windows start at whole encoder frames, so their frames fall where the whole's would.
        factor = self.model.encoder.subsampling_factor
        frame_seconds = self.model.samples_per_frame / self.model.sample_rate
        size = int(WINDOW_SECONDS / frame_seconds)
        context = int(CONTEXT_SECONDS / frame_seconds)
        total = -(-frames // factor)
        start = kept = 0
        while kept < total:
            stop = min(start + size, total)
            last = total if stop == total else stop - context
            yield _Window(
                recording, start * factor, min(stop * factor, frames), kept - start, last - start
            )
            kept = last
            start = kept - context

    def _batches(self, windows: Sequence[_Window], batch_seconds: float) -> Iterator[list[_Window]]:
        per_second = self.model.sample_rate / self.model.features.hop
        batch: list[_Window] = []
        for window in windows:
            longest = batch[0] if batch else window
            padded = (longest.stop - longest.start) * (len(batch) + 1)
            if batch and padded > batch_seconds * per_second:
                yield batch
                batch = []
            batch.append(window)
        if batch:
            yield batch


def save_model(
    folder: Path | str,
    model: CTCModel,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder: config, vocabulary and weights, whole or not at all.

    Args:
        folder: an existing one is replaced.
        model: its weights are saved from whatever device they are on.
        tokenizer: saved beside them.
        config: what ``build_model`` made the model from.
        notes: facts about the training, plain values.
    """
    with atomic_folder(folder) as place:
        tokenizer.save(place)
        weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        safetensors.torch.save_file(weights, place / WEIGHTS_NAME)
        content = {
            "format": FORMAT,
            "versions": {
                "asr": __version__,
                "torch": torch.__version__.split("+")[0],
                "python": platform.python_version(),
            },
            "model": dict(config),
            "tokenizer": {"kind": tokenizer.kind},
            "decoder": {"kind": "greedy"},
            "training": dict(notes or {}),
        }
        with atomic_write(place / CONFIG_NAME) as stream:
            yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)


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


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no model folder: it lacks {CONFIG_NAME}; `asr train` writes one as "
            "RUN/model"
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelFolderError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ModelFolderError(
            f"{path} says format {found!r}, this version of asr ({__version__}) reads format "
            f"{FORMAT}; use the version that wrote the model"
        )
    return dict(config)


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
