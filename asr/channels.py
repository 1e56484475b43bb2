"""Several channels become one: their mean, or one of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asr.errors import AudioError
from asr.resampling import Samples

if TYPE_CHECKING:
    import av


def check_channel(path: Path, channels: int, channel: int | None) -> None:
    """Refuse a channel that a file does not have.

    Args:
        path: the file, for the message.
        channels: how many it has.
        channel: the one asked for, counted from 1, or None.

    Raises:
        AudioError: it has no such channel.
    """
    if channel is not None and not 1 <= channel <= channels:
        raise AudioError(
            f"{path} has no channel {channel}; expected 1 to {channels}, the channels it has"
        )


def channels_of(frame: "av.AudioFrame") -> Samples:
    """Return a decoded frame as (C, S) float32 within ±1."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return np.asarray(samples, dtype=np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    # Dividing in float64 keeps a 32-bit sample from being rounded twice.
    scale = -float(np.iinfo(samples.dtype).min)
    return np.asarray(samples / scale, dtype=np.float32)


def one_channel(channels: Samples, channel: int | None) -> Samples:
    """Take one of several channels, or their mean.

    Args:
        channels: samples (C, S).
        channel: from 1 to C; None: the mean.

    Returns:
        Mono samples (S,).
    """
    return mix_down(channels) if channel is None else np.ascontiguousarray(channels[channel - 1])


def mix_down(channels: Samples) -> Samples:
    """Average channels.

    Args:
        channels: samples (C, S).

    Returns:
        Mono samples (S,); a view where there is one channel only.
    """
    if len(channels) == 1:
        only: Samples = channels[0]
        return only
    mono = channels[0] + channels[1]
    for channel in channels[2:]:
        mono += channel
    mean: Samples = mono * np.float32(1 / len(channels))
    return mean
