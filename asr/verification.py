"""Verification decodes a corpus' files and says which are whole, spoken and transcribed."""

import os
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr.audio import read_audio, read_raw_pcm, write_flac
from asr.corpora import CorpusItem, Refusal
from asr.errors import AudioError
from asr.listening import AudioMemory
from asr.manifest import Utterance
from asr.text import normalize_text


@dataclass(frozen=True)
class Rules:
    """What an utterance must satisfy.

    Attributes:
        normalizer: a key of ``asr.text.NORMALIZERS``.
        characters: all that normalised transcripts may hold; empty for anything printable.
        min_seconds: shorter utterances are left out.
        max_seconds: longer utterances are left out.

    Raises:
        UsageError: no normaliser has that name.
    """

    normalizer: str = "none"
    characters: str = ""
    min_seconds: float = 0.0
    max_seconds: float = float("inf")

    def __post_init__(self) -> None:
        normalize_text("", self.normalizer)


@dataclass(frozen=True)
class Verified:
    """An utterance that satisfies all rules, and the sample rate of its file in Hz."""

    utterance: Utterance
    sample_rate: int


def verify_items(
    title: str,
    items: list[CorpusItem],
    rules: Rules,
    out: Path,
    memory: AudioMemory,
    jobs: int | None = None,
) -> Iterator[Verified | Refusal]:
    """Verify items in threads, which decoders let run side by side.

    Args:
        title: of the progress bar.
        items: what to verify.
        rules: what to demand.
        out: folder below which headerless audio goes as FLAC.
        memory: of files that were decoded before.
        jobs: threads; as many as there are cores when None.

    Yields:
        A verdict for each item, in their order.
    """
    pool = ThreadPoolExecutor(jobs or os.cpu_count())
    try:
        verdicts = pool.map(lambda item: verify_item(item, rules, out, memory), items)
        yield from tqdm(verdicts, title, total=len(items), unit="file", disable=None)
    finally:
        pool.shutdown(cancel_futures=True)


def verify_item(
    item: CorpusItem, rules: Rules, out: Path, memory: AudioMemory
) -> Verified | Refusal:
    """Decode one file to its end, unless that was done before, and check its transcript.

    Args:
        item: as a reader gave it.
        rules: what to demand.
        out: folder below which headerless audio goes as FLAC.
        memory: of files that were decoded before.

    Returns:
        The utterance with the duration as decoded, or why it is refused.
    """
    text = normalize_text(item.text, rules.normalizer)
    if fault := _text_fault(text, rules.characters):
        return Refusal(item.id, str(item.audio), fault)
    try:
        path = _convert(item, out) if item.raw else item.audio.absolute()
    except AudioError as error:
        return Refusal(item.id, str(item.audio), str(error))
    facts = memory.facts(path)
    if facts.fault:
        return Refusal(item.id, str(item.audio), facts.fault)
    seconds = facts.seconds
    if not rules.min_seconds <= seconds <= rules.max_seconds:
        bounds = f"{rules.min_seconds:g} to {rules.max_seconds:g} s were asked for"
        reason = f"lasts {seconds:.2f} s; {bounds}"
        return Refusal(item.id, str(item.audio), reason, sound=True)
    utterance = Utterance(item.id, str(path), round(seconds, 6), text, item.speaker)
    return Verified(utterance, facts.sample_rate)


def _text_fault(text: str, characters: str) -> str:
    if not text:
        return "the transcript is empty"
    if characters:
        wrong = {character for character in text if character not in characters}
    else:
        wrong = {
            character
            for character in text
            if unicodedata.category(character).startswith("C") or character == "\ufffd"
        }
    named = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in sorted(wrong))
    return f"the transcript holds {named}: {text!r}" if wrong else ""


def _convert(item: CorpusItem, out: Path) -> Path:
    """Write headerless samples as FLAC, which loses nothing, unless that was done before."""
    assert item.raw
    path = (out / "audio" / f"{item.id}.flac").absolute()
    waveform = read_raw_pcm(item.audio, item.raw.sample_rate, item.raw.byte_order)
    if path.is_file():
        try:
            if np.array_equal(read_audio(path).waveform, waveform):
                return path
        except AudioError:
            path.unlink()
    write_flac(path, waveform, item.raw.sample_rate)
    return path
