"""Speech made by rule: a binding of espeak-ng's library that forgets all between utterances."""

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.errors import AudioError
from asr.espeak import Espeak, open_espeak

# Values of espeak-ng's public header, speak_lib.h.
_UTF8 = 1
_WORD_EVENT, _END_EVENT = 1, 5
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4

# With plain spaces espeak-ng melts "on the" into one entry of its dictionary and one word event.
_UNMELTING_SPACE = "\u00a0"
_NOISE_SEED = 1


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
    with open_espeak() as espeak:
        samples, events = _speak(espeak, _UNMELTING_SPACE.join(words).lower(), voice)
    waveform = samples.astype(np.float32) / np.float32(32768)
    rate = espeak.sample_rate
    return SyntheticSpeech(waveform, rate, _times(words, events, len(samples), rate))


def _speak(
    espeak: Espeak, text: str, voice: Voice
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
    library = espeak.library
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))
    _set_voice(espeak, voice)
    encoded = text.encode()
    size = ctypes.c_size_t(len(encoded) + 1)
    if library.espeak_Synth(encoded, size, 0, 1, 0, _UTF8, None, None):
        raise AudioError(f"espeak-ng failed to speak {text!r} in the voice {voice.name}")
    return np.frombuffer(b"".join(blocks), np.int16), events


def _set_voice(espeak: Espeak, voice: Voice) -> None:
    espeak.set_voice(voice.name)
    for parameter, value in (
        (_RATE, voice.words_per_minute),
        (_PITCH, voice.pitch),
        (_PITCH_RANGE, voice.pitch_range),
    ):
        espeak.library.espeak_SetParameter(parameter, value, 0)


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
