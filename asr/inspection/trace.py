"""A trace holds what a model did over the time of one recording, down to every unit's gates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.audio import probe_audio, read_audio
from asr.decoding.rivals import settle_rivals
from asr.errors import AudioError, UsageError
from asr.gru.gates import gru_gates
from asr.gru.parameters import GRULayer
from asr.inspection.loudness import find_speech, loudness_db
from asr.inspection.memory import half_life_frames, halvings
from asr.inspection.words import TimedWord, align_words
from asr.model import CTCModel
from asr.recognizer import Recognizer
from asr.windows import cut_windows

Floats = NDArray[np.float32]

DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class UnitTrace:
    """The units of one layer and direction over a recording's encoder frames.

    Attributes:
        layer: its number, from 1.
        direction: ``"forward"`` or ``"backward"``.
        update: z ``(U, H)``; 0 keeps the old state, 1 takes the new.
        reset: r ``(U, H)``; 0 hides the old state from the candidate.
        state: h ``(U, H)``, within [-1, 1].
    """

    layer: int
    direction: str
    update: Floats
    reset: Floats
    state: Floats

    @property
    def name(self) -> str:
        """How text calls it."""
        return f"layer {self.layer} {self.direction}"

    def half_lives(self) -> NDArray[np.float64]:
        """Tell each unit's memory span by its update gate ``(H,)``, in encoder frames."""
        return half_life_frames(halvings(self.update).mean(axis=0))


@dataclass(frozen=True)
class Trace:
    """What a model did with one recording.

    Attributes:
        path: the audio file.
        duration_seconds: length of the decoded audio.
        hop_seconds: distance of feature frames.
        frame_seconds: distance of encoder frames.
        log_mel: natural logarithms of mel power ``(T, F)``, not normalised.
        mel_hertz: middle of each mel band ``(F,)``.
        log_probs: ``(U, V)``, natural logarithms.
        tokens: what each of the V ids adds to a text.
        words: the words of the best path, at the model's own times.
        speech: ``(U,)``, true where it is loud.
        units: each layer and direction, the lowest layer first, forward before backward.
        warnings: what was off with the audio, in sentences.
    """

    path: str
    duration_seconds: float
    hop_seconds: float
    frame_seconds: float
    log_mel: Floats
    mel_hertz: Floats
    log_probs: Floats
    tokens: tuple[str, ...]
    words: tuple[TimedWord, ...]
    speech: NDArray[np.bool_]
    units: tuple[UnitTrace, ...]
    warnings: tuple[str, ...]

    def seconds(self, frame: float) -> float:
        """Tell the time of the middle of an encoder frame.

        The convolutions of stride two look as far back as ahead, so encoder frame u has its middle
        where feature frame ``u * subsampling`` has it, half a hop behind its start.
        """
        return frame * self.frame_seconds + self.hop_seconds / 2

    def choose(self, layer: int | None, direction: str | None) -> UnitTrace:
        """Pick the units of one layer and direction; see ``choose_units``."""
        layers = self.units[-1].layer
        return self.units[choose_units(layers, len(self.units) // layers, layer, direction)]


def check_choice(model: CTCModel, layer: int | None, direction: str | None) -> None:
    """Make sure, before anything is computed, that a model has a layer and direction.

    Args:
        model: the model.
        layer: as ``choose_units`` takes it.
        direction: as ``choose_units`` takes it.

    Raises:
        UsageError: it has no such layer or direction.
    """
    layers = gru_layers(model)
    choose_units(len(layers), len(layers[0].weight_recurrent), layer, direction)


def choose_units(layers: int, directions: int, layer: int | None, direction: str | None) -> int:
    """Find a layer and direction among all, the lowest layer first, forward before backward.

    Args:
        layers: how many the model has.
        directions: 1 or 2.
        layer: its number, from 1; None: the last.
        direction: ``"forward"`` or ``"backward"``; None: forward.

    Raises:
        UsageError: the model has no such layer or direction.
    """
    number = layers if layer is None else layer
    if not 1 <= number <= layers:
        raise UsageError(f"there is no layer {layer}; the model has layers 1 to {layers}")
    wanted = direction or DIRECTIONS[0]
    if wanted not in DIRECTIONS[:directions]:
        raise UsageError(
            f"there is no direction '{wanted}' in this model; it reads "
            f"{' and '.join(DIRECTIONS[:directions])} only"
        )
    return (number - 1) * directions + DIRECTIONS.index(wanted)


def gru_layers(model: CTCModel) -> list[GRULayer]:
    """List the GRU layers of a model's encoder, the lowest first.

    Raises:
        UsageError: the encoder has none.
    """
    layers = [module for module in model.encoder.modules() if isinstance(module, GRULayer)]
    if not layers:
        raise UsageError("the model's encoder has no GRU layer; there are no gates to look into")
    return layers


@torch.inference_mode()
def trace_audio(
    recognizer: Recognizer, path: Path | str, most_seconds: float | None = None
) -> Trace:
    """Run a model over a recording and keep what its units did.

    A long recording is read in windows that overlap, each afresh, and the frames of the windows are
    joined. Memory: 12 bytes a unit and frame.

    Args:
        recognizer: the model.
        path: the audio file.
        most_seconds: the longest recording taken; None takes any.

    Raises:
        AudioError: the file cannot be read, is shorter than a frame or too long.
        UsageError: the model has no GRU.
    """
    model = recognizer.model
    gru_layers(model)
    if most_seconds is not None:
        # What the header says spares the decoding; not every header says it.
        _check_length(path, probe_audio(path).duration_seconds, most_seconds)
    audio = read_audio(path, model.sample_rate)
    seconds = len(audio.waveform) / model.sample_rate
    _check_length(path, seconds, most_seconds)
    length = torch.tensor([len(audio.waveform)], device=recognizer.device)
    waveform = torch.from_numpy(audio.waveform).to(recognizer.device).unsqueeze(0)
    log_mel, frames = model.features.log_mel(waveform, length)
    if not int(frames):
        raise AudioError(
            f"{path} lasts {1000 * seconds:.1f} ms; expected a feature frame or more, "
            f"{1000 * model.features.hop / model.sample_rate:g} ms"
        )
    log_mel = log_mel[:, : int(frames)]
    log_probs, units = _run(model, model.features.normalized(log_mel, frames)[0])
    hop = model.features.hop / model.sample_rate
    frame_seconds = model.samples_per_frame / model.sample_rate
    settled = settle_rivals(log_probs, recognizer.decoder_options.rivals_below)
    power = _array(log_mel[0])
    return Trace(
        path=str(path),
        duration_seconds=seconds,
        hop_seconds=hop,
        frame_seconds=frame_seconds,
        log_mel=power,
        mel_hertz=_array(model.features.band_centres()),
        log_probs=_array(log_probs),
        tokens=recognizer.tokenizer.pieces,
        words=align_words(torch.from_numpy(settled), recognizer.tokenizer),
        speech=_speech(power, model.encoder.subsampling_factor, hop),
        units=units,
        warnings=audio.warnings,
    )


def _check_length(path: Path | str, seconds: float, most_seconds: float | None) -> None:
    if most_seconds is not None and seconds > most_seconds:
        raise AudioError(
            f"{path} lasts {seconds:.0f} s; expected {most_seconds:.0f} s at most for a picture of "
            "every frame: cut out the part to look into"
        )


def _run(model: CTCModel, features: Tensor) -> tuple[Tensor, tuple[UnitTrace, ...]]:
    """Give the log-probabilities (U, V) and every unit's trace for features (T, F)."""
    log_probs: list[Tensor] = []
    pieces: list[list[tuple[Floats, Floats, Floats]]] = []
    for window in cut_windows(0, len(features), model):
        part = features[window.start : window.stop].unsqueeze(0)
        kept = slice(window.first, window.last)
        with _recorded(model, kept) as found:
            rows, _ = model.classify(part, torch.tensor([part.shape[1]], device=part.device))
        log_probs.append(rows[0, kept].cpu())
        pieces.append(found)
    directions = len(gru_layers(model)[0].weight_recurrent)
    units = tuple(
        UnitTrace(
            index // directions + 1,
            DIRECTIONS[index % directions],
            *(np.concatenate(parts) for parts in zip(*windows, strict=True)),
        )
        for index, windows in enumerate(zip(*pieces, strict=True))
    )
    return torch.cat(log_probs), units


@contextmanager
def _recorded(model: CTCModel, kept: slice) -> Iterator[list[tuple[Floats, Floats, Floats]]]:
    """Collect update, reset and state of every direction that runs within the block."""
    found: list[tuple[Floats, Floats, Floats]] = []

    def record(layer: nn.Module, given: tuple[Any, ...], result: tuple[Tensor, Tensor]) -> None:
        assert isinstance(layer, GRULayer)
        x, state, padding = given
        for gates in gru_gates(layer, x, result[0], state, padding):
            rows = (gates.update, gates.reset, gates.state)
            update, reset, states = (_array(row[kept, 0]) for row in rows)
            found.append((update, reset, states))

    handles = [layer.register_forward_hook(record) for layer in gru_layers(model)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _array(values: Tensor) -> Floats:
    array: Floats = values.float().cpu().contiguous().numpy()
    return array


def _speech(log_mel: Floats, factor: int, hop_seconds: float) -> NDArray[np.bool_]:
    """Mark the encoder frames whose feature frame in the middle is loud."""
    return find_speech(loudness_db(log_mel), hop_seconds)[::factor]
