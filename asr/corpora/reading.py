"""Texts read aloud by synthetic speakers, laid out as LibriSpeech, the same bytes every time.

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/train/1001/10010/1001-10010.trans.txt
    LibriSpeech/train/1001/10010/1001-10010-0000.flac
    LibriSpeech/train/1001/10010/1001-10010.ctm

The last file is not LibriSpeech's: it has the true times of all words, from the synthesiser's own
events. 16 kHz, 16-bit FLAC.
"""

import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from asr.audio import resample, write_flac
from asr.corpora.corpus import Corpus
from asr.corpora.librispeech import CHARACTERS, corpus_folder, read_librispeech
from asr.errors import UsageError
from asr.files import atomic_folder, atomic_write
from asr.resampling import Samples
from asr.synthesis import SpokenWord, Voice, synthesize

SAMPLE_RATE = 16000
SPLITS = ("train", "dev", "test")
SEED = 1

# Variants of espeak-ng that sound like a person, do not clip, and sound the same every time: what
# breath Reed draws, by the sixth Klatt voice, depends on what the process did before.
WOMEN = ("f1", "f2", "f3", "f4", "f5", "aunty", "linda", "steph", "shelby", "Annie", "grandma")
MEN = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "adam", "benjamin", "Michael", "robert"),
    *("david", "boris", "max", "quincy", "Alex", "rob", "Denis", "Mike", "grandpa", "klatt"),
    "victor",
)
ACCENTS = ("en-us", "en", "en-gb-x-rp")

# Of recordings that are to sound recorded: the highest sample, and decibels of speech over noise.
PEAKS = (0.1, 0.5)
NOISE_DB = (25.0, 40.0)

SPEAKERS_HEADER = """\
; Some pipe(|) separated metadata about the speakers of the corpus.
;
; The meaning of the fields in left-to-right order is as follows:
;
; reader_id: the ID of the speaker
; gender: 'F' for female, 'M' for male
; subset: the corpus subset to which the speaker's audio is assigned
; duration: total number of minutes of speech by the speaker, included in the corpus
; name: accent and variant of espeak-ng, pitch, pitch range, words per minute
;
;ID  |SEX| SUBSET           |MINUTES| NAME
"""


@dataclass(frozen=True)
class Script:
    """What is read and how.

    Attributes:
        compose: makes up a transcript.
        say: writes a word of it so that espeak-ng says it as people do.
        accents: espeak-ng's names; a variant of a voice is taken once with each.
        recorded: whether loudness differs and noise is added, as in recordings.
    """

    compose: Callable[[random.Random], str]
    say: Callable[[str], str] = str
    accents: tuple[str, ...] = ACCENTS
    recorded: bool = False


@dataclass(frozen=True)
class SpokenSplit:
    """How large a split is.

    Attributes:
        speakers: how many read for it, and for it alone.
        utterances: how many each of them reads.
    """

    speakers: int
    utterances: int


@dataclass(frozen=True)
class SpokenSpeaker:
    """A synthetic speaker.

    Attributes:
        id: as in LibriSpeech, a number.
        sex: "F" or "M".
        split: the only split they read for.
        voice: how they sound.
    """

    id: str
    sex: str
    split: str
    voice: Voice


@dataclass(frozen=True)
class _Chapter:
    """All that one speaker reads, and where it goes: the work of one process at a time."""

    speaker: SpokenSpeaker
    folder: Path
    sentences: tuple[str, ...]
    seed: int
    script: Script


def read_aloud(
    root: Path | str,
    script: Script,
    splits: Mapping[str, SpokenSplit],
    *,
    seed: int = SEED,
    jobs: int | None = None,
) -> list[SpokenSpeaker]:
    """Make a corpus as ``root/LibriSpeech``, whole or not at all.

    The same script, splits and seed give the same bytes, in any number of processes.

    Args:
        root: the folder to make it in.
        script: what is read.
        splits: size of each split by name.
        seed: of sentences and voices.
        jobs: processes that speak; as many as there are cores when None.

    Returns:
        The speakers in the order of their ids.

    Raises:
        UsageError: ``root/LibriSpeech`` is there already; no split, an empty split, or more
            speakers than there are voices.
        AudioError: espeak-ng cannot be loaded.
        AttributeError, pickle.PicklingError: the script's functions are not of a module, so that no
            other process can be told them.
        OSError: nothing can be written there.
    """
    # A pool of processes waits for ever for a task that it cannot send (CPython 3.11).
    pickle.dumps(script)
    target = Path(root) / "LibriSpeech"
    if target.exists():
        raise UsageError(f"{target} is there already; name another folder, or delete it first")
    speakers = spoken_speakers(splits, seed, script.accents)
    with atomic_folder(target) as folder:
        chapters = [
            _chapter(speaker, folder, splits[speaker.split].utterances, seed, script)
            for speaker in speakers
        ]
        seconds = _read_all(chapters, jobs)
        with atomic_write(folder / "SPEAKERS.TXT") as stream:
            stream.write(SPEAKERS_HEADER)
            stream.writelines(map(_speaker_line, speakers, seconds))
    return speakers


def spoken_speakers(
    splits: Mapping[str, SpokenSplit], seed: int = SEED, accents: Sequence[str] = ACCENTS
) -> list[SpokenSpeaker]:
    """Choose a distinct voice for each speaker; every third is a woman's.

    Args:
        splits: as for ``read_aloud``.
        seed: shuffles who is heard in which split, and draws pitch, liveliness and speed.
        accents: with each of which a variant is taken once.

    Returns:
        The speakers, split by split.

    Raises:
        UsageError: no split, an empty split, or more speakers than there are voices.
    """
    places = [name for name, size in splits.items() for _ in range(size.speakers)]
    if any(min(size.speakers, size.utterances) < 1 for size in splits.values()) or not places:
        raise UsageError(f"splits are {dict(splits)}; expected one speaker and utterance or more")
    most = 3 * len(accents) * len(WOMEN)
    if len(places) > most:
        raise UsageError(f"{len(places)} speakers asked for; there are voices for {most}")
    draw = random.Random(f"speakers {seed}")
    women, men = (_shuffled_voices(variants, accents, draw) for variants in (WOMEN, MEN))
    speakers = []
    for number, split in enumerate(places):
        sex = "M" if number % 3 else "F"
        voice = Voice(
            next(men if number % 3 else women),
            pitch=draw.randrange(35, 66),
            pitch_range=draw.randrange(35, 76),
            words_per_minute=draw.randrange(140, 201),
        )
        speakers.append(SpokenSpeaker(str(1001 + number), sex, split, voice))
    return speakers


def _shuffled_voices(
    variants: tuple[str, ...], accents: Sequence[str], draw: random.Random
) -> Iterator[str]:
    """Yield every variant once, then again with the next accent, so that no two are alike."""
    for shift in range(len(accents)):
        for variant in draw.sample(variants, len(variants)):
            yield f"{accents[(variants.index(variant) + shift) % len(accents)]}+{variant}"


def _chapter(
    speaker: SpokenSpeaker, folder: Path, utterances: int, seed: int, script: Script
) -> _Chapter:
    draw = random.Random(f"sentences {seed} {speaker.id}")
    sentences = tuple(script.compose(draw) for _ in range(utterances))
    chapter = f"{speaker.id}0"
    place = folder / speaker.split / speaker.id / chapter
    return _Chapter(speaker, place, sentences, seed, script)


def _read_all(chapters: list[_Chapter], jobs: int | None) -> list[float]:
    """Let processes read the chapters and return the seconds of each."""
    processes = min(jobs or os.cpu_count() or 1, len(chapters))
    # Forked children would inherit the locks of whatever threads the caller has running.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    # Ctrl-C is the parent's to answer: children started while it is blocked never see it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        done = pool.map(_read_chapter, chapters)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return list(tqdm(done, "speaking", total=len(chapters), unit="speaker", disable=None))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # After a failure nobody wants the rest; after a success there is none.
        pool.shutdown(cancel_futures=True)


def _read_chapter(chapter: _Chapter) -> float:
    """Write a chapter's audio and transcripts and return its seconds."""
    import numpy as np

    name = f"{chapter.speaker.id}-{chapter.folder.name}"
    draw = random.Random(f"pauses {chapter.seed} {chapter.speaker.id}")
    samples = 0
    lines: list[str] = []
    times: list[str] = []
    for number, sentence in enumerate(chapter.sentences):
        identity = f"{name}-{number:04d}"
        said = [chapter.script.say(word) for word in sentence.split()]
        speech = synthesize(" ".join(said), chapter.speaker.voice)
        waveform = resample(speech.waveform, speech.sample_rate, SAMPLE_RATE)
        # Recorded sentences begin and end with a breath of silence; espeak-ng's do not.
        pauses = [round(draw.uniform(0.1, 0.3) * SAMPLE_RATE) for _ in range(2)]
        waveform = np.pad(waveform, (pauses[0], pauses[1]))
        if chapter.script.recorded:
            waveform = _recorded(waveform, draw)
        write_flac(chapter.folder / f"{identity}.flac", waveform, SAMPLE_RATE)
        samples += len(waveform)
        lines.append(f"{identity} {sentence}\n")
        times += (
            f"{identity} 1 {pauses[0] / SAMPLE_RATE + start:.4f} {end - start:.4f} {word}\n"
            for word, start, end in _word_times(sentence.split(), said, speech.words)
        )
    with atomic_write(chapter.folder / f"{name}.trans.txt") as stream:
        stream.writelines(lines)
    with atomic_write(chapter.folder / f"{name}.ctm") as stream:
        stream.writelines(times)
    return samples / SAMPLE_RATE


def _recorded(waveform: Samples, draw: random.Random) -> Samples:
    import numpy as np

    louder = waveform * (draw.uniform(*PEAKS) / max(1e-6, float(np.abs(waveform).max())))
    noise = np.random.default_rng(draw.getrandbits(32)).standard_normal(len(waveform))
    level = np.sqrt(np.mean(louder.astype(np.float64) ** 2)) * 10 ** (-draw.uniform(*NOISE_DB) / 20)
    noisy: Samples = (louder + level * noise).astype(np.float32)
    return noisy


def _word_times(
    words: Sequence[str], said: Sequence[str], spoken: Sequence[SpokenWord]
) -> Iterator[tuple[str, float, float]]:
    """Give when each word of a transcript begins and ends; some are said in several."""
    rest = iter(spoken)
    for word, parts in zip(words, said, strict=True):
        own = [next(rest) for _ in parts.split()]
        yield word, own[0].start_seconds, own[-1].end_seconds


def _speaker_line(speaker: SpokenSpeaker, seconds: float) -> str:
    voice = speaker.voice
    name = f"{voice.name} {voice.pitch} {voice.pitch_range} {voice.words_per_minute}"
    return f"{speaker.id:<4} | {speaker.sex} | {speaker.split:<16} | {seconds / 60:5.2f} | {name}\n"


def spoken_corpus(summary: str, script: Script, splits: Mapping[str, SpokenSplit]) -> Corpus:
    """Describe a corpus that is read aloud where there is none yet.

    Args:
        summary: one line for ``asr prepare --help``.
        script: what is read.
        splits: size of each split by name.
    """
    return Corpus(
        summary=summary,
        splits=_splits_present,
        read=read_librispeech,
        normalizer="librispeech",
        characters=CHARACTERS,
        generate=partial(read_aloud, script=script, splits=splits),
    )


def _splits_present(root: Path) -> list[str]:
    return [split for split in SPLITS if (corpus_folder(root) / split).is_dir()]
