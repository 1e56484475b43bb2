"""Speech made by rule: a binding of espeak-ng's library that forgets all between utterances."""

import _ctypes
import ctypes
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asr.errors import AudioError

# Values of espeak-ng's public header, speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_WORD_EVENT, _END_EVENT = 1, 5
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4

# The library keeps the path of its data in 160 bytes and appends file names to it.
_LONGEST_DATA_PATH = 100
# With plain spaces espeak-ng melts "on the" into one entry of its dictionary and one word event.
_UNMELTING_SPACE = "\u00a0"
_NOISE_SEED = 1

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """Who speaks and how.

    Attributes:
        name: accent and, after a plus sign, variant, as ``espeak-ng -v`` takes them: "en-us+f3".
        pitch: height of the voice, 0 to 99.
        pitch_range: liveliness of the melody, 0 (monotone) to 99.
        words_per_minute: speed, 80 to 450.
    """

    name: str
    pitch: int = 50
    pitch_range: int = 50
    words_per_minute: int = 175


@dataclass(frozen=True)
class SpokenWord:
    """A word and where it sounds, in seconds from the waveform's first sample.

    Attributes:
        word: as it stands in the text.
        start_seconds: where its first sound begins.
        end_seconds: where the next word begins; after the last one, where the sentence ends.
    """

    word: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class SyntheticSpeech:
    """A spoken text with the true times of its words.

    Attributes:
        waveform: (S,) float32, full scale 1.
        sample_rate: in Hz.
        words: every word of the text, in order.
    """

    waveform: npt.NDArray[np.float32]
    sample_rate: int
    words: tuple[SpokenWord, ...]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("identity", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def synthesize(text: str, voice: Voice) -> SyntheticSpeech:
    """Let espeak-ng read a text.

    The result depends on text and voice alone, bit for bit, whatever was spoken before and in
    whichever process. Threads take turns; use processes to go faster.

    Args:
        text: words separated by white space, without punctuation.
        voice: who reads.

    Returns:
        The waveform at espeak-ng's own rate (22050 Hz) and the times of all words.

    Raises:
        AudioError: there is no such voice, the text holds no word, the library cannot be loaded,
            or it split the text into other words than those separated by spaces.
    """
    words = text.split()
    if not words:
        raise AudioError(f"nothing to speak in {text!r}; expected at least one word")
    with _one_at_a_time, _data_path() as data_path, _fresh_library() as library:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _DO_NOT_EXIT)
        if rate <= 0:
            raise AudioError(
                f"espeak-ng found no data in {data_path.decode()}; reinstall espeakng-loader"
            )
        try:
            samples, events = _speak(library, _UNMELTING_SPACE.join(words).lower(), voice)
        finally:
            library.espeak_Terminate()
    waveform = samples.astype(np.float32) / np.float32(32768)
    return SyntheticSpeech(waveform, rate, _times(words, events, len(samples), rate))


@contextmanager
def _data_path() -> Iterator[bytes]:
    """Give a path of the data that is short enough for the library."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path()).absolute()
    if len(os.fsencode(folder)) <= _LONGEST_DATA_PATH:
        yield os.fsencode(folder.parent)
        return
    with tempfile.TemporaryDirectory(prefix="asr-") as short:
        if len(os.fsencode(short)) > _LONGEST_DATA_PATH:
            raise AudioError(
                f"the temporary folder {short} has too long a name for espeak-ng, which takes "
                f"{_LONGEST_DATA_PATH} bytes; set TMPDIR=/tmp"
            )
        Path(short, folder.name).symlink_to(folder)
        yield os.fsencode(short)


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """Load the library anew, for its static variables outlive even ``espeak_Terminate``."""
    import espeakng_loader

    path = espeakng_loader.get_library_path()
    if _is_loaded(path):
        raise AudioError(
            "espeak-ng is already loaded in this process, so speech would depend on what was "
            "spoken before; synthesize in a process of its own"
        )
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise AudioError(f"espeak-ng's library cannot be loaded: {error}") from error
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)


def _is_loaded(path: str) -> bool:
    try:
        handle = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)._handle
    except OSError:
        return False
    _ctypes.dlclose(handle)
    return True


def _speak(
    library: ctypes.CDLL, text: str, voice: Voice
) -> tuple[npt.NDArray[np.int16], list[tuple[int, int]]]:
    """Return samples and (event type, sample) pairs."""
    blocks: list[bytes] = []
    events: list[tuple[int, int]] = []

    def receive(samples: "ctypes._Pointer[ctypes.c_short]", count: int, event: object) -> int:
        if samples and count:
            blocks.append(ctypes.string_at(samples, 2 * count))
        position = 0
        while (entry := event[position]).type:  # type: ignore[index]  # a C array of events
            events.append((entry.type, entry.sample))
            position += 1
        return 0

    callback = _CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))
    _set_voice(library, voice)
    encoded = text.encode()
    size = ctypes.c_size_t(len(encoded) + 1)
    if library.espeak_Synth(encoded, size, 0, 1, 0, _UTF8, None, None):
        raise AudioError(f"espeak-ng failed to speak {text!r} in the voice {voice.name}")
    return np.frombuffer(b"".join(blocks), np.int16), events


def _set_voice(library: ctypes.CDLL, voice: Voice) -> None:
    import espeakng_loader

    variant = voice.name.partition("+")[2]
    # The library falls back to the plain accent when it knows no such variant.
    known = not variant or Path(espeakng_loader.get_data_path(), "voices", "!v", variant).is_file()
    if not known or library.espeak_SetVoiceByName(voice.name.encode()):
        raise AudioError(
            f"espeak-ng has no voice '{voice.name}'; expected an accent and a variant such as "
            "en-us+f3 (see `espeak-ng --voices=en` and `--voices=variant`)"
        )
    for parameter, value in (
        (_RATE, voice.words_per_minute),
        (_PITCH, voice.pitch),
        (_PITCH_RANGE, voice.pitch_range),
    ):
        library.espeak_SetParameter(parameter, value, 0)


def _times(
    words: list[str], events: list[tuple[int, int]], samples: int, rate: int
) -> tuple[SpokenWord, ...]:
    starts = [sample for kind, sample in events if kind == _WORD_EVENT]
    if len(starts) != len(words):
        raise AudioError(
            f"espeak-ng speaks {len(starts)} words where the text has {len(words)}: "
            f"'{' '.join(words)}'; write numbers and signs as words"
        )
    last = max((sample for kind, sample in events if kind == _END_EVENT), default=samples)
    ends = [*starts[1:], min(last, samples)]
    return tuple(
        SpokenWord(word, start / rate, end / rate)
        for word, start, end in zip(words, starts, ends, strict=True)
    )
