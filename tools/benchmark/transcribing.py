"""What transcribing does to words: cutting into chunks, file formats, and sound without speech.

    python tools/benchmark/transcribing.py chunks MODEL AUDIO... [--lengths 20 40] [--overlaps 5]
    python tools/benchmark/transcribing.py formats MODEL AUDIO...
    python tools/benchmark/transcribing.py insertions MODEL AUDIO... [--minutes 10]

``chunks`` encodes recordings whole and cut, with states carried on and with chunks that overlap
instead, and counts the words in which the transcripts differ.
``formats`` writes utterances in every format, rate and number of channels that can be written here,
and counts the words that differ from those of the FLAC at 16 kHz. ``insertions`` makes silence,
noises, music-like sound, and babble out of the recordings, and counts words heard in a minute.
All of AUDIO is joined to one recording for ``chunks``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from asr.acoustic import encode
from asr.audio import read_audio
from asr.recognizer import Recognizer
from asr.recordings import Reader
from asr.resampling import resample
from asr.scoring import score_pairs
from asr.tokenizer import Tokenizer
from asr.windows import Chunking

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from sound_files import (  # the encoders of the tests
    CHANNELS,
    FORMATS,
    RATES,
    CannotEncodeError,
    encode_file,
)


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("chunks", "formats", "insertions"))
    parser.add_argument("model")
    parser.add_argument("audio", nargs="+")
    parser.add_argument("--lengths", type=float, nargs="+", default=[20.0, 30.0, 40.0, 60.0])
    parser.add_argument("--overlaps", type=float, nargs="*", default=[2.5, 5.0])
    parser.add_argument("--reference", help="file with what is said, one line a recording")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model, device="cpu")
    if args.what == "chunks":
        reference = Path(args.reference).read_text(encoding="utf-8") if args.reference else ""
        compare_chunks(
            recognizer, args.audio, args.lengths, args.overlaps, " ".join(reference.split())
        )
    elif args.what == "formats":
        compare_formats(recognizer, args.audio)
    else:
        count_insertions(recognizer, args.audio, args.minutes)


def joined(paths: Sequence[str], rate: int) -> np.ndarray:
    """Read recordings and put them behind one another."""
    return np.concatenate([read_audio(path, rate).waveform for path in paths])


def words_of(log_probs: torch.Tensor, recognizer: Recognizer) -> str:
    """Decode greedily."""
    tokenizer: Tokenizer = recognizer.tokenizer
    return tokenizer.decode(recognizer.decoder.decode(log_probs)[0].tokens)


def compare_chunks(
    recognizer: Recognizer,
    paths: Sequence[str],
    lengths: Sequence[float],
    overlaps: Sequence[float],
    reference: str,
) -> None:
    """Print how many words differ between the whole and the cut recording."""
    model = recognizer.model
    waveform = joined(paths, model.sample_rate)
    recording = Reader(recognizer.acoustic.features).from_waveform(waveform)
    assert recording.features is not None
    (whole,) = encode(model, [recording.features], chunking=Chunking(0.0))
    text = words_of(whole, recognizer)
    seconds = len(waveform) / model.sample_rate
    error = f", WER {wer(reference, text):.2f} %" if reference else ""
    print(f"{seconds / 60:.1f} minutes, {len(text.split())} words when encoded whole{error}")
    print("length s  overlap s  words that differ  largest change of a probability     WER  RTF")
    for overlap in (None, *overlaps):
        for length in lengths:
            if length < 4 * (overlap or 0.0):
                continue
            started = time.perf_counter()
            (cut,) = encode(model, [recording.features], chunking=Chunking(length, overlap))
            factor = (time.perf_counter() - started) / seconds
            found = words_of(cut, recognizer)
            errors = score_pairs({"a": text}, {"a": found}).words
            change = float((cut.exp() - whole.exp()).abs().max())
            error = f"{wer(reference, found):.2f}" if reference else ""
            print(
                f"{length:8g} {'carried' if overlap is None else format(overlap, 'g'):>10} "
                f"{errors.errors:9d} {100 * errors.errors / max(1, errors.words):6.2f} % "
                f"{change:32.2g} {error:>7} {factor:.4f}",
                flush=True,
            )


def wer(reference: str, hypothesis: str) -> float:
    """Give the word error rate in percent."""
    return 100 * score_pairs({"a": reference}, {"a": hypothesis}).words.rate


def compare_formats(recognizer: Recognizer, paths: Sequence[str]) -> None:
    """Print word differences to the 16 kHz FLAC and the largest change of the duration."""
    sources = [read_audio(path, 48000).waveform for path in paths]
    print("format     16 kHz mono  all rates and channels  files  not encoded  largest change, ms")
    with tempfile.TemporaryDirectory() as place:
        reference = dict(transcripts(recognizer, sources, Path(place), "flac", 16000, 1))
        for kind in FORMATS:
            here, all_errors, all_words, files, missing, change = 0.0, 0, 0, 0, 0, 0.0
            for rate in RATES:
                for channels in CHANNELS:
                    try:
                        found = dict(
                            transcripts(recognizer, sources, Path(place), kind, rate, channels)
                        )
                    except CannotEncodeError:
                        missing += 1
                        continue
                    counts = score_pairs(
                        {key: text for key, (text, _) in reference.items()},
                        {key: text for key, (text, _) in found.items()},
                    ).words
                    files += len(found)
                    all_errors += counts.errors
                    all_words += counts.words
                    if (rate, channels) == (16000, 1):
                        here = 100 * counts.rate
                    change = max(
                        change,
                        *(abs(found[key][1] - reference[key][1]) * 1000 for key in reference),
                    )
            share = 100 * all_errors / max(1, all_words)
            print(
                f"{kind:10} {here:9.2f} % {share:20.2f} % {files:8d} {missing:9d} {change:15.1f}",
                flush=True,
            )


def transcripts(
    recognizer: Recognizer,
    sources: Sequence[np.ndarray],
    place: Path,
    kind: str,
    rate: int,
    channels: int,
) -> Iterator[tuple[str, tuple[str, float]]]:
    """Encode and transcribe; yield text and seconds of each source."""
    paths = []
    for number, waveform in enumerate(sources):
        paths.append(place / f"{number}.{kind}")
        encode_file(paths[-1], resample(waveform, 48000, rate), rate, channels, kind)
    for number, transcript in enumerate(recognizer.transcribe_many(paths)):
        yield str(number), (transcript.text, transcript.decoded_seconds)


def count_insertions(recognizer: Recognizer, paths: Sequence[str], minutes: float) -> None:
    """Print the words heard in a minute of sound in which nobody speaks to be understood."""
    rate = recognizer.model.sample_rate
    print("sound                     level dBFS  words a minute")
    for name, waveform in sounds(paths, rate, minutes):
        transcript = recognizer.transcribe(waveform.astype(np.float32), rate)
        power = 10 * np.log10(max(1e-12, float(np.mean(waveform.astype(np.float64) ** 2))))
        count = len(transcript.words) / (len(waveform) / rate / 60)
        print(f"{name:25} {power:10.0f} {count:15.1f}", flush=True)


def sounds(paths: Sequence[str], rate: int, minutes: float) -> Iterator[tuple[str, np.ndarray]]:
    """Yield named waveforms without intelligible speech, the same each time."""
    samples = round(minutes * 60 * rate)
    draw = np.random.default_rng(0)
    yield "digital silence", np.zeros(samples)
    white = draw.standard_normal(samples)
    for level in (-60, -40, -20):
        yield f"white noise {level} dB", white * 10 ** (level / 20)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), samples)
    yield "pink noise", 0.05 * pink / pink.std()
    time = np.arange(samples) / rate
    yield "hum of 50 Hz", 0.05 * np.sign(np.sin(2 * np.pi * 50 * time)) * np.sin(100 * np.pi * time)
    yield "music-like: chords", chords(draw, samples, rate)
    voices = [read_audio(path, rate).waveform for path in paths]
    for count in (8, 32):
        mixed = np.zeros(samples)
        for _ in range(count):
            row = np.concatenate([voices[i] for i in draw.permutation(len(voices))])
            row = np.resize(np.roll(row, int(draw.integers(len(row)))), samples)
            mixed += row
        yield f"babble of {count} voices", 0.05 * mixed / mixed.std()


def chords(draw: np.random.Generator, samples: int, rate: int) -> np.ndarray:
    """Make decaying chords of harmonic tones, two a second."""
    length = rate // 2
    time = np.arange(length) / rate
    music = np.zeros(samples)
    for start in range(0, samples - length, length):
        for note in draw.choice([220, 247, 262, 294, 330, 349, 392, 440], 3, replace=False):
            for harmonic in range(1, 6):
                tone = np.sin(2 * np.pi * note * harmonic * time) / harmonic
                music[start : start + length] += 0.05 * tone * np.exp(-3 * time)
    return music


if __name__ == "__main__":
    main()
