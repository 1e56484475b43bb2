"""A corpus of tones, made in a moment: every letter is a pitch, so that a small model can learn."""

from pathlib import Path

import numpy as np

from asr.audio import write_flac
from asr.manifest import Utterance, write_manifest

SAMPLE_RATE = 16000
PITCHES = {"A": 400, "B": 700, "C": 1100, "D": 1700, "E": 2600, " ": 0}


def tones(text: str, seconds_per_letter: float = 0.16) -> np.ndarray:
    """Play a text, a tone a letter.

    Args:
        text: letters of ``PITCHES``.
        seconds_per_letter: length of a tone.

    Returns:
        ``(S,)`` float32.
    """
    time = np.arange(round(seconds_per_letter * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.hanning(len(time))
    parts = [0.3 * fade * np.sin(2 * np.pi * PITCHES[letter] * time) for letter in text]
    return np.concatenate(parts).astype(np.float32)


def make_tones(root: Path, train: int = 12, valid: int = 4) -> Path:
    """Write recordings and the manifests ``train.jsonl`` and ``valid.jsonl``.

    Args:
        root: the folder for all of it.
        train: utterances to train on.
        valid: utterances to validate on.

    Returns:
        ``root``.
    """
    draw = np.random.default_rng(1)
    for split, count in (("train", train), ("valid", valid)):
        utterances = []
        for number in range(count):
            words = ["".join(draw.choice(list("ABCDE"), 3)) for _ in range(2)]
            text = " ".join(words)
            path = root / split / f"{number:03d}.flac"
            waveform = tones(text)
            write_flac(path, waveform, SAMPLE_RATE)
            seconds = len(waveform) / SAMPLE_RATE
            utterances.append(
                Utterance(f"{split}-{number:03d}", str(path), seconds, text, f"{split}-speaker")
            )
        write_manifest(root / f"{split}.jsonl", utterances)
    return root
