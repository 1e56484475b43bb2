"""A toy language for tests: every letter is a pure tone, words are separated by a longer pause."""

import numpy as np

SAMPLE_RATE = 8000
ALPHABET = "ABCDEFGH"
# 400 Hz upwards, 40 % of an octave from letter to letter.
FREQUENCY = {letter: 400.0 * 2.0 ** (0.4 * index) for index, letter in enumerate(ALPHABET)}


def speak_tones(text: str, seed: int) -> np.ndarray:
    """Make the waveform of a text, the same for the same seed.

    Args:
        text: words of letters A to H, separated by single spaces.
        seed: of durations, loudness and noise.

    Returns:
        (S,) float32 at 8 kHz.
    """
    generator = np.random.default_rng(seed)
    pieces = [_silence(generator, 0.05, 0.15)]
    for character in text:
        if character == " ":
            pieces.append(_silence(generator, 0.2, 0.3))
        else:
            pieces.append(_tone(generator, FREQUENCY[character]))
            pieces.append(_silence(generator, 0.03, 0.06))
    pieces.append(_silence(generator, 0.05, 0.15))
    waveform = np.concatenate(pieces)
    noise = generator.uniform(-0.003, 0.003, len(waveform))
    return (waveform + noise).astype(np.float32)


def draw_text(generator: np.random.Generator, words: int, longest: int) -> str:
    """Draw words of 1 to ``longest`` letters."""
    letters = list(ALPHABET)
    lengths = generator.integers(1, longest + 1, words)
    return " ".join("".join(generator.choice(letters, length)) for length in lengths)


def _silence(generator: np.random.Generator, shortest: float, longest: float) -> np.ndarray:
    return np.zeros(int(generator.uniform(shortest, longest) * SAMPLE_RATE))


def _tone(generator: np.random.Generator, frequency: float) -> np.ndarray:
    seconds = np.arange(int(generator.uniform(0.07, 0.14) * SAMPLE_RATE)) / SAMPLE_RATE
    phase = generator.uniform(0, 2 * np.pi)
    tone = generator.uniform(0.1, 0.4) * np.sin(2 * np.pi * frequency * seconds + phase)
    # Faded in and out over 5 ms: a click would sound like every letter at once.
    edge = np.minimum(1.0, np.arange(len(tone)) / (0.005 * SAMPLE_RATE))
    return tone * edge * edge[::-1]
