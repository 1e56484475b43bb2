"""A stretch of an audio file, read without decoding what lies before it where the format allows."""

import os
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import load_waveform, resample
from asr.channels import one_channel
from asr.errors import AudioError
from asr.resampling import Samples

# In these, libsndfile jumps to the very sample; in lossy ones it need not.
_EXACT = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC"})


def load_excerpt(path: Path | str, sample_rate: int, start: float, seconds: float) -> Samples:
    """Decode a stretch of a file; whether the rest of the file is whole is not looked at.

    Args:
        path: as for ``asr.audio.load_waveform``.
        sample_rate: of the result in Hz.
        start: of the stretch, in seconds.
        seconds: its length; less where the file ends before.

    Returns:
        The waveform (S,) float32, S > 0.

    Raises:
        AudioError: missing, unreadable, damaged within the stretch, or ended before it.
    """
    try:
        with soundfile.SoundFile(os.fsencode(path)) as sound:
            found = None
            if sound.format in _EXACT:
                rate = sound.samplerate
                sound.seek(min(round(start * rate), sound.frames))
                block = sound.read(round(seconds * rate), dtype="float32", always_2d=True)
                found = resample(one_channel(block.T, None), rate, sample_rate)
    except (soundfile.LibsndfileError, OSError):
        # A format that only PyAV reads, or a fault that the reader of whole files explains.
        found = None
    if found is None:
        first = round(start * sample_rate)
        found = load_waveform(path, sample_rate)[first : first + round(seconds * sample_rate)]
    if not len(found) or not np.isfinite(found).all():
        raise AudioError(f"{path} holds no sound at {start:.2f} s; is it shorter than it was?")
    return found
