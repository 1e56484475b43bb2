"""Loudness tells speech from silence without asking the model."""

import numpy as np
from numpy.typing import NDArray

# Below this contrast between the quiet and the loud parts there is nothing to tell apart.
LEAST_CONTRAST_DB = 10.0
# Closures of stops inside a word are shorter than this.
SHORTEST_SILENCE_SECONDS = 0.15
_QUIET_PERCENT, _LOUD_PERCENT = 5.0, 95.0


def loudness_db(log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum the power of all mel bands.

    Args:
        log_mel: natural logarithms of mel power ``(T, F)``.

    Returns:
        ``(T,)``, in decibels; 0 is a power of 1.
    """
    decibels: NDArray[np.float32] = 10 * np.log10(np.exp(log_mel).sum(axis=1))
    return decibels


def find_speech(decibels: NDArray[np.float32], frame_seconds: float) -> NDArray[np.bool_]:
    """Mark the frames that are loud for their recording.

    Loud is above the middle, in decibels, between the recording's quiet (5 %) and loud (95 %)
    frames; quiet stretches under 0.15 s count as speech. It hears no difference between speech and
    other noise. A recording with less than 10 dB between the two is speech throughout.

    Args:
        decibels: loudness ``(N,)`` of each frame.
        frame_seconds: distance of frames, in seconds.

    Returns:
        ``(N,)``, true in speech.
    """
    if not len(decibels):
        return np.zeros(0, dtype=np.bool_)
    quiet, loud = np.percentile(decibels, [_QUIET_PERCENT, _LOUD_PERCENT])
    if loud - quiet < LEAST_CONTRAST_DB:
        return np.ones(len(decibels), dtype=np.bool_)
    speech: NDArray[np.bool_] = decibels > (quiet + loud) / 2
    for first, stop in stretches(~speech):
        inside = first > 0 and stop < len(speech)
        if inside and (stop - first) * frame_seconds < SHORTEST_SILENCE_SECONDS:
            speech[first:stop] = True
    return speech


def stretches(marks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List the runs of true frames as pairs: the first, and one behind the last."""
    edges = np.flatnonzero(np.diff(np.r_[False, marks, False]))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def find_starts(
    speech: NDArray[np.bool_], frame_seconds: float, pause_seconds: float = 0.2
) -> list[int]:
    """List the frames where speech sets in after a pause.

    Args:
        speech: what ``find_speech`` returned.
        frame_seconds: distance of frames, in seconds.
        pause_seconds: the least silence before, counted from the recording's start.
    """
    return [
        stop
        for first, stop in stretches(~speech)
        if stop < len(speech) and (stop - first) * frame_seconds >= pause_seconds
    ]
