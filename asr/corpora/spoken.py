"""Spoken: half an hour of commands read by espeak-ng, made on the spot without any network.

Sentences of a small grammar ("PLEASE TURN ON THE RED LIGHT IN THE KITCHEN", 40 words) are read by
32 synthetic speakers: combinations of accent, voice variant, pitch, liveliness and speed. Speakers
of dev and test are never heard in train. 16 kHz, 16-bit FLAC, laid out exactly as LibriSpeech:

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/train/1001/10010/1001-10010.trans.txt
    LibriSpeech/train/1001/10010/1001-10010-0000.flac
    LibriSpeech/train/1001/10010/1001-10010.ctm

The last file is not LibriSpeech's: it has the true times of all words, from the synthesiser's own
events.

It is for demonstrations and tests: a model trained on it understands espeak-ng, not people.
"""

import os
import random
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from asr.audio import resample, write_flac
from asr.corpora.corpus import Corpus, CorpusItem, ReadOptions, Refusal
from asr.corpora.librispeech import CHARACTERS, corpus_folder, read_librispeech
from asr.errors import UsageError
from asr.files import atomic_folder, atomic_write
from asr.synthesis import Voice, synthesize

SAMPLE_RATE = 16000
SPLITS = ("train", "dev", "test")
SEED = 1

# Variants of espeak-ng that sound like a person and do not clip.
WOMEN = ("f1", "f2", "f3", "f4", "f5", "aunty", "linda", "steph", "shelby", "Annie", "grandma")
MEN = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "adam", "benjamin", "Michael", "robert"),
    *("david", "boris", "max", "quincy", "Reed", "rob", "Denis", "Mike", "grandpa", "klatt"),
    "victor",
)
ACCENTS = ("en-us", "en", "en-gb-x-rp")

COLOURS = ("RED", "GREEN", "BLUE", "WHITE")
ROOMS = ("KITCHEN", "BEDROOM", "GARDEN")
SEVERAL = ("TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN")

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
class SpokenSplit:
    """How large a split is.

    Attributes:
        speakers: how many read for it, and for it alone.
        utterances: how many each of them reads.
    """

    speakers: int
    utterances: int


DEFAULT_SPLITS: Mapping[str, SpokenSplit] = MappingProxyType(
    {"train": SpokenSplit(24, 25), "dev": SpokenSplit(4, 20), "test": SpokenSplit(4, 20)}
)


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


def make_spoken_corpus(
    root: Path | str,
    splits: Mapping[str, SpokenSplit] = DEFAULT_SPLITS,
    *,
    seed: int = SEED,
    jobs: int | None = None,
) -> list[SpokenSpeaker]:
    """Make the corpus as ``root/LibriSpeech``, whole or not at all.

    The same splits and seed give the same bytes, in any number of processes.

    Args:
        root: the folder to make it in.
        splits: size of each split by name.
        seed: of sentences and voices.
        jobs: processes that speak; as many as there are cores when None.

    Returns:
        The speakers in the order of their ids.

    Raises:
        UsageError: ``root/LibriSpeech`` is there already; no split, an empty split, or more
            speakers than there are voices.
        AudioError: espeak-ng cannot be loaded.
        OSError: nothing can be written there.
    """
    target = Path(root) / "LibriSpeech"
    if target.exists():
        raise UsageError(f"{target} is there already; name another folder, or delete it first")
    speakers = spoken_speakers(splits, seed)
    with atomic_folder(target) as folder:
        chapters = [
            _chapter(speaker, folder, splits[speaker.split].utterances, seed)
            for speaker in speakers
        ]
        seconds = _read_all(chapters, jobs)
        with atomic_write(folder / "SPEAKERS.TXT") as stream:
            stream.write(SPEAKERS_HEADER)
            stream.writelines(map(_speaker_line, speakers, seconds))
    return speakers


def spoken_speakers(splits: Mapping[str, SpokenSplit], seed: int = SEED) -> list[SpokenSpeaker]:
    """Choose a distinct voice for each speaker; every third is a woman's.

    Args:
        splits: as for ``make_spoken_corpus``.
        seed: shuffles who is heard in which split, and draws pitch, liveliness and speed.

    Returns:
        The speakers, split by split.

    Raises:
        UsageError: no split, an empty split, or more speakers than there are voices.
    """
    places = [name for name, size in splits.items() for _ in range(size.speakers)]
    if any(min(size.speakers, size.utterances) < 1 for size in splits.values()) or not places:
        raise UsageError(f"splits are {dict(splits)}; expected one speaker and utterance or more")
    most = 3 * len(ACCENTS) * len(WOMEN)
    if len(places) > most:
        raise UsageError(f"{len(places)} speakers asked for; there are voices for {most}")
    draw = random.Random(f"speakers {seed}")
    women, men = _shuffled_voices(WOMEN, draw), _shuffled_voices(MEN, draw)
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


def _shuffled_voices(variants: tuple[str, ...], draw: random.Random) -> Iterator[str]:
    """Yield every variant once, then again with the next accent, so that no two are alike."""
    for shift in range(len(ACCENTS)):
        for variant in draw.sample(variants, len(variants)):
            yield f"{ACCENTS[(variants.index(variant) + shift) % len(ACCENTS)]}+{variant}"


def compose_sentence(draw: random.Random) -> str:
    """Make up a command.

    Args:
        draw: the source of all choices.

    Returns:
        A sentence in upper case without punctuation, of 2 to 11 words.
    """
    where = f" IN THE {draw.choice(ROOMS)}" if draw.random() < 0.6 else ""
    thing = draw.choice(("LIGHT", "LAMP"))
    if draw.random() < 0.7:
        thing = f"{draw.choice(COLOURS)} {thing}"
    command = draw.choice(
        (
            f"TURN {draw.choice(('ON', 'OFF'))} THE {thing}{where}",
            f"TURN {draw.choice(('ON', 'OFF'))} {draw.choice(SEVERAL)} {thing}S{where}",
            f"{draw.choice(('OPEN', 'CLOSE'))} THE {draw.choice(('DOOR', 'WINDOW'))}{where}",
            f"{draw.choice(('PLAY', 'STOP'))} THE {draw.choice(('MUSIC', 'RADIO'))}{where}",
            f"START THE {draw.choice(('ONE', *SEVERAL))} MINUTE TIMER{where}",
            f"{draw.choice(('START', 'STOP'))} THE FAN{where}",
        )
    )
    manner = draw.random()
    if manner < 0.2:
        return f"PLEASE {command}"
    return f"{command} NOW" if manner < 0.4 else command


def _chapter(speaker: SpokenSpeaker, folder: Path, utterances: int, seed: int) -> _Chapter:
    draw = random.Random(f"sentences {seed} {speaker.id}")
    sentences = tuple(compose_sentence(draw) for _ in range(utterances))
    chapter = f"{speaker.id}0"
    return _Chapter(speaker, folder / speaker.split / speaker.id / chapter, sentences, seed)


def _read_all(chapters: list[_Chapter], jobs: int | None) -> list[float]:
    """Let processes read the chapters and return the seconds of each."""
    processes = min(jobs or os.cpu_count() or 1, len(chapters))
    # Forked children would inherit the locks of whatever threads the caller has running.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    # Ctrl-C is the parent's to answer: children started while it is blocked never see it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        done = pool.map(_read_aloud, chapters)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return list(tqdm(done, "speaking", total=len(chapters), unit="speaker", disable=None))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # After a failure nobody wants the rest; after a success there is none.
        pool.shutdown(cancel_futures=True)


def _read_aloud(chapter: _Chapter) -> float:
    """Write a chapter's audio and transcripts and return its seconds."""
    import numpy as np

    name = f"{chapter.speaker.id}-{chapter.folder.name}"
    draw = random.Random(f"pauses {chapter.seed} {chapter.speaker.id}")
    samples = 0
    lines: list[str] = []
    times: list[str] = []
    for number, sentence in enumerate(chapter.sentences):
        identity = f"{name}-{number:04d}"
        speech = synthesize(sentence, chapter.speaker.voice)
        waveform = resample(speech.waveform, speech.sample_rate, SAMPLE_RATE)
        # Recorded sentences begin and end with a breath of silence; espeak-ng's do not.
        pauses = [round(draw.uniform(0.1, 0.3) * SAMPLE_RATE) for _ in range(2)]
        waveform = np.pad(waveform, (pauses[0], pauses[1]))
        write_flac(chapter.folder / f"{identity}.flac", waveform, SAMPLE_RATE)
        samples += len(waveform)
        lines.append(f"{identity} {sentence}\n")
        before = pauses[0] / SAMPLE_RATE
        times += (
            f"{identity} 1 {before + word.start_seconds:.4f} "
            f"{word.end_seconds - word.start_seconds:.4f} {word.word}\n"
            for word in speech.words
        )
    with atomic_write(chapter.folder / f"{name}.trans.txt") as stream:
        stream.writelines(lines)
    with atomic_write(chapter.folder / f"{name}.ctm") as stream:
        stream.writelines(times)
    return samples / SAMPLE_RATE


def _speaker_line(speaker: SpokenSpeaker, seconds: float) -> str:
    voice = speaker.voice
    name = f"{voice.name} {voice.pitch} {voice.pitch_range} {voice.words_per_minute}"
    return f"{speaker.id:<4} | {speaker.sex} | {speaker.split:<16} | {seconds / 60:5.2f} | {name}\n"


def find_spoken_splits(root: Path) -> list[str]:
    """List the splits of a generated corpus that are present.

    Args:
        root: the folder that it was made in, or its ``LibriSpeech``.
    """
    return [split for split in SPLITS if (corpus_folder(root) / split).is_dir()]


def read_spoken(
    root: Path, split: str, options: ReadOptions | None = None
) -> Iterator[CorpusItem | Refusal]:
    """Read one split of a generated corpus, which is laid out as LibriSpeech.

    Args:
        root: as for ``find_spoken_splits``.
        split: "train", "dev" or "test".
        options: nothing in them concerns this corpus.

    Yields:
        As ``read_librispeech``.
    """
    return read_librispeech(root, split, options)


SPOKEN = Corpus(
    summary="half an hour of commands read by espeak-ng; made on the spot if DIR has none yet",
    splits=find_spoken_splits,
    read=read_spoken,
    normalizer="librispeech",
    characters=CHARACTERS,
    generate=make_spoken_corpus,
)
