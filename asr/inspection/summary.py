"""A summary says how the units of a model behave over many recordings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asr.errors import AudioError
from asr.inspection.loudness import find_starts
from asr.inspection.memory import Values
from asr.inspection.tally import CurveTally, UnitTally
from asr.inspection.trace import Trace, trace_audio
from asr.manifest import Utterance
from asr.recognizer import Recognizer

REACH_SECONDS = 0.4
# A unit whose state, within [-1, 1], has less deviation than this over all frames is dead.
DEAD_DEVIATION = 0.01
# A gate that is below 0.05 or above 0.95 in this share of frames is saturated.
SATURATED_SHARE = 0.95


@dataclass(frozen=True)
class OnsetCurve:
    """Update gates around onsets, on the average of all onsets.

    Attributes:
        seconds: time after the onset ``(K,)``.
        onsets: number of onsets.
        mean: mean over units ``(K,)``; NaN where no recording reaches.
        lasting: mean over the quarter of units with the longest half-lives ``(K,)``.
        low: tenth percentile of the units' means ``(K,)``.
        high: ninetieth percentile.
    """

    seconds: Values
    onsets: int
    mean: Values
    lasting: Values
    low: Values
    high: Values


@dataclass(frozen=True)
class HalfLives:
    """Memory spans by the update gate, in seconds, ``(H,)`` one for each unit.

    Attributes:
        all: over all frames.
        speech: over speech.
        silence: over silence; NaN if there is none.
    """

    all: Values
    speech: Values
    silence: Values


@dataclass(frozen=True)
class UnitSummary:
    """The units of one layer and direction.

    Attributes:
        layer: its number, from 1.
        direction: ``"forward"`` or ``"backward"``.
        units: their number H.
        update_speech: mean update gate in speech.
        update_silence: mean update gate in silence; NaN if there is none.
        reset_speech: mean reset gate in speech.
        reset_silence: mean reset gate in silence.
        move_speech: mean change of a unit's state from one frame of speech to the next.
        move_silence: the same in silence.
        half_lives: memory spans of the units.
        dead: units whose state hardly moves: standard deviation under 0.01.
        update_saturated: units whose update gate is below 0.05 or above 0.95 in 95 % of frames.
        reset_saturated: the same of the reset gate.
        update_extreme: share of all update gates, over units and frames, below 0.05 or above 0.95.
        reset_extreme: the same of the reset gates.
        words: update gates around the onsets of words.
        starts: update gates around the starts of speech after a pause, found by loudness.
    """

    layer: int
    direction: str
    units: int
    update_speech: float
    update_silence: float
    reset_speech: float
    reset_silence: float
    move_speech: float
    move_silence: float
    half_lives: HalfLives
    dead: int
    update_saturated: int
    reset_saturated: int
    update_extreme: float
    reset_extreme: float
    words: OnsetCurve
    starts: OnsetCurve

    @property
    def name(self) -> str:
        """How text calls it."""
        return f"layer {self.layer} {self.direction}"


@dataclass(frozen=True)
class LeftOut:
    """A recording that is not in a summary.

    Attributes:
        id: the utterance.
        audio_filepath: its audio.
        message: why.
    """

    id: str
    audio_filepath: str
    message: str


@dataclass(frozen=True)
class Summary:
    """How a model's units behave, and over what.

    Attributes:
        units: each layer and direction, the lowest layer first, forward before backward.
        recordings: how many were read.
        audio_seconds: their length.
        speech_seconds: how much of it is loud.
        frame_seconds: distance of encoder frames.
        words: words of the best paths.
        left_out: recordings that could not be read.
        warnings: what was off with recordings that were read, in sentences.
        model: where the model came from, as the caller put it.
        manifest: where the recordings came from, as the caller put it.
        date: when the work began, ISO 8601 in UTC.
    """

    units: tuple[UnitSummary, ...]
    recordings: int
    audio_seconds: float
    speech_seconds: float
    frame_seconds: float
    words: int
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    model: str
    manifest: str
    date: str


def summarize(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    model: str = "",
    manifest: str = "",
    progress: bool = False,
) -> Summary:
    """Run a model over recordings and add up what its units do.

    Args:
        recognizer: the model.
        utterances: the recordings; their texts are not used.
        model: name of the model for the record.
        manifest: name of the manifest for the record.
        progress: draw a progress bar on stderr.

    Raises:
        AudioError: no recording could be read.
        UsageError: the model has no GRU.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    tallies: list[UnitTally] = []
    left_out: list[LeftOut] = []
    warnings: list[str] = []
    seconds = speech_seconds = frame_seconds = 0.0
    words = 0
    for utterance in tqdm(utterances, "inspecting", unit="utt", disable=not progress):
        try:
            trace = trace_audio(recognizer, utterance.audio_filepath)
        except AudioError as error:
            left_out.append(LeftOut(utterance.id, utterance.audio_filepath, str(error)))
            continue
        tallies = tallies or _tallies(trace)
        _add(tallies, trace)
        frame_seconds = trace.frame_seconds
        seconds += trace.duration_seconds
        speech_seconds += float(trace.speech.sum()) * frame_seconds
        words += len(trace.words)
        warnings += trace.warnings
    if not tallies:
        raise AudioError(
            f"none of the {len(utterances)} recordings could be read; the first: "
            f"{left_out[0].message if left_out else 'there is none'}"
        )
    return Summary(
        units=tuple(_finish(tally, frame_seconds) for tally in tallies),
        recordings=len(utterances) - len(left_out),
        audio_seconds=seconds,
        speech_seconds=speech_seconds,
        frame_seconds=frame_seconds,
        words=words,
        left_out=tuple(left_out),
        warnings=tuple(warnings),
        model=model,
        manifest=manifest,
        date=date,
    )


def _tallies(trace: Trace) -> list[UnitTally]:
    reach = math.floor(REACH_SECONDS / trace.frame_seconds + 0.5)
    tallies = []
    for units in trace.units:
        curves = (CurveTally(reach, units.update.shape[1]) for _ in range(2))
        tallies.append(UnitTally(units.layer, units.direction, *curves))
    return tallies


def _add(tallies: Sequence[UnitTally], trace: Trace) -> None:
    words = [word.first for word in trace.words]
    starts = find_starts(trace.speech, trace.frame_seconds)
    for tally, units in zip(tallies, trace.units, strict=True):
        tally.add(units, trace.speech, words, starts)


def _finish(tally: UnitTally, frame_seconds: float) -> UnitSummary:
    speech, silence = tally.speech, tally.silence
    half_lives = tally.half_lives(speech, silence)
    lasting = np.argsort(half_lives, kind="stable")[-math.ceil(len(half_lives) / 4) :]
    extreme = {gate: tally.extreme_shares(gate) for gate in ("update", "reset")}
    return UnitSummary(
        layer=tally.layer,
        direction=tally.direction,
        units=tally.words.units,
        update_speech=tally.mean_gate("update", speech),
        update_silence=tally.mean_gate("update", silence),
        reset_speech=tally.mean_gate("reset", speech),
        reset_silence=tally.mean_gate("reset", silence),
        move_speech=tally.mean_move(speech),
        move_silence=tally.mean_move(silence),
        half_lives=HalfLives(
            frame_seconds * half_lives,
            frame_seconds * tally.half_lives(speech),
            frame_seconds * tally.half_lives(silence),
        ),
        dead=int((tally.deviations() < DEAD_DEVIATION).sum()),
        update_saturated=int((extreme["update"] >= SATURATED_SHARE).sum()),
        reset_saturated=int((extreme["reset"] >= SATURATED_SHARE).sum()),
        update_extreme=float(extreme["update"].mean()),
        reset_extreme=float(extreme["reset"].mean()),
        words=_curve(tally.words, frame_seconds, lasting),
        starts=_curve(tally.starts, frame_seconds, lasting),
    )


def _curve(tally: CurveTally, frame_seconds: float, lasting: NDArray[np.int64]) -> OnsetCurve:
    means = tally.means()
    low, high = (np.percentile(means, share, axis=1).astype(np.float64) for share in (10, 90))
    offsets = np.arange(-tally.reach, tally.reach + 1, dtype=np.float64) * frame_seconds
    return OnsetCurve(
        offsets, tally.onsets, means.mean(axis=1), means[:, lasting].mean(axis=1), low, high
    )
