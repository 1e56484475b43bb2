"""LibriSpeech: 1000 hours of English audiobooks, the measuring rod of speech recognition.

Read speech of 2484 volunteers of LibriVox, 16 kHz, cut into utterances of up to 35 seconds, with
transcripts in upper case without punctuation (Panayotov, Chen, Povey, Khudanpur: Librispeech: an
ASR corpus based on public domain audio books, ICASSP 2015). Source: openslr.org/12; licence CC BY
4.0. Mini-LibriSpeech, five hours of it for trying things out, is openslr.org/31.

    split              hours  speakers          split              hours  speakers
    train-clean-100    100.6       251          dev-clean            5.4        40
    train-clean-360    363.6       921          dev-other            5.3        33
    train-other-500    496.7      1166          test-clean           5.4        40
    train-clean-5 (mini) 5.3        28          test-other           5.1        33
    dev-clean-2 (mini)   2.0        38

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt      one "ID TEXT" a line
    LibriSpeech/SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac

Many keep converted copies; any suffix listed in ``SUFFIXES`` may stand for ``.flac``.
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.corpus import Corpus, CorpusItem, ReadOptions, Refusal
from asr.corpora.librispeech_release import LIBRISPEECH_RELEASE
from asr.errors import CorpusError

SPLITS = (
    *("train-clean-5", "dev-clean-2"),
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ' "

# In order of preference, where an utterance lies there twice.
SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")


def find_librispeech_splits(root: Path) -> list[str]:
    """List the official splits that are present.

    Args:
        root: the folder of the splits, or the one that holds it as ``LibriSpeech``.

    Returns:
        Names in the order of ``SPLITS``.
    """
    return [split for split in SPLITS if (corpus_folder(root) / split).is_dir()]


def corpus_folder(root: Path) -> Path:
    """Go down into ``LibriSpeech`` where the archives were unpacked in the root.

    Args:
        root: what the user gave.

    Returns:
        The folder that holds the splits.
    """
    return root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root


def read_librispeech(
    root: Path, split: str, options: ReadOptions | None = None
) -> Iterator[CorpusItem | Refusal]:
    """Read one split of LibriSpeech or of a corpus laid out like it.

    Args:
        root: as for ``find_librispeech_splits``.
        split: name of a folder of speakers.
        options: nothing in them concerns this corpus.

    Yields:
        Items by id; a ``Refusal`` for each transcript without audio, audio without transcript,
        broken line and id that stands twice.

    Raises:
        CorpusError: no such split, or no transcript in it.
    """
    folder = corpus_folder(root) / split
    if not folder.is_dir():
        raise CorpusError(
            f"there is no folder {folder}; unpack {split} there or name the splits you have "
            "with --splits"
        )
    tables = sorted(folder.rglob("*.trans.txt"))
    if not tables:
        raise CorpusError(
            f"{folder} holds no *.trans.txt; expected {split}/SPEAKER/CHAPTER/"
            "SPEAKER-CHAPTER.trans.txt as in the official archive"
        )
    chapters = {table.parent for table in tables}
    for table in tables:
        yield from _read_chapter(table)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.parent not in chapters:
            yield Refusal(path.stem, str(path), "audio without a transcript")


def _read_chapter(table: Path) -> Iterator[CorpusItem | Refusal]:
    audio = _audio_by_id(table.parent)
    seen: set[str] = set()
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        identity, _, text = line.strip().partition(" ")
        place = f"{table}, line {number}"
        if identity in seen:
            yield Refusal(identity, place, "its id already stands in this file")
        elif identity not in audio:
            yield Refusal(identity, place, "transcript without audio")
        else:
            yield CorpusItem(identity, audio[identity], text, identity.split("-")[0])
        seen.add(identity)
    for identity, path in sorted(audio.items()):
        if identity not in seen:
            yield Refusal(identity, str(path), "audio without a transcript")


def _audio_by_id(chapter: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in chapter.iterdir():
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            continue
        other = found.get(path.stem)
        if other is None or SUFFIXES.index(suffix) < SUFFIXES.index(other.suffix.lower()):
            found[path.stem] = path
    return found


LIBRISPEECH = Corpus(
    summary="English audiobooks, official splits and mini-LibriSpeech's, also converted copies",
    splits=find_librispeech_splits,
    read=read_librispeech,
    normalizer="librispeech",
    characters=CHARACTERS,
    release=LIBRISPEECH_RELEASE,
)
