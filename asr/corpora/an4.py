"""AN4: an hour of names, addresses, numbers and dates, spelled or spoken; trains in minutes.

Recorded at Carnegie Mellon University about 1991 (the "alphanumeric" or census database; A. Acero,
Acoustical and Environmental Robustness in Automatic Speech Recognition, Kluwer 1993), 16 kHz,
16 bit; free for any purpose. Official training set: 948 utterances, 74 speakers, 42 minutes; test
set: 130 utterances, 10 other speakers, 773 words.

    etc/an4_train.fileids            an4_clstk/SPEAKER/ID
    etc/an4_train.transcription      <s> TEXT </s> (ID)
    wav/an4_clstk/SPEAKER/ID.wav     or NIST .sph, big-endian .raw, or a .flac copy
    etc/an4_test.*, wav/an4test_clstk/...

There is no official validation set. Published recipes take the first 100 training utterances in
order of speaker (ESPnet, egs2/an4/asr1/local/data.sh); so does ``asr prepare an4``, which goes on
to the end of a speaker, so that nobody is heard in both. In the official set both ways give the
same eight speakers.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.corpus import Corpus, CorpusItem, RawAudio, ReadOptions, Refusal
from asr.errors import CorpusError

SPLITS = ("train", "test")
SUFFIXES = (".wav", ".sph", ".flac", ".raw")
VALID_UTTERANCES = 100

_TRANSCRIPT = re.compile(r"^(?:<s>)?(?P<text>.*?)(?:</s>)?\s*\((?P<id>[^()\s]+)\)\s*$")
_RAW = RawAudio(sample_rate=16000, byte_order="big")


def find_an4_splits(root: Path) -> list[str]:
    """List the splits whose file lists are present.

    Args:
        root: the folder that holds ``etc`` and ``wav``, or the one that holds it as ``an4``.

    Returns:
        "train", "test" or both.
    """
    folder = _corpus_folder(root)
    return [split for split in SPLITS if (folder / f"etc/an4_{split}.fileids").is_file()]


def read_an4(
    root: Path, split: str, options: ReadOptions | None = None
) -> Iterator[CorpusItem | Refusal]:
    """Read one split of AN4.

    Args:
        root: as for ``find_an4_splits``.
        split: "train" or "test".
        options: nothing in them concerns this corpus.

    Yields:
        Items in the order of the file list; a ``Refusal`` for each file of the list without audio
        or transcript, and for each transcript that is broken, doubled or of no file in the list.

    Raises:
        CorpusError: the file list or the transcripts are not there.
    """
    folder = _corpus_folder(root)
    fileids = folder / f"etc/an4_{split}.fileids"
    transcription = folder / f"etc/an4_{split}.transcription"
    for path in (fileids, transcription):
        if not path.is_file():
            raise CorpusError(f"there is no {path}; --root is the folder with etc/ and wav/ in it")
    texts: dict[str, str] = {}
    yield from _read_transcription(transcription, texts)
    for name in fileids.read_text(encoding="utf-8").split():
        identity = Path(name).name
        text = texts.pop(identity, None)
        if text is None:
            yield Refusal(identity, str(transcription), "no transcript has its id")
        else:
            yield _find_audio(folder / "wav", name, text)
    for identity in texts:
        yield Refusal(identity, str(transcription), "transcript of a file that is not in the list")


def _corpus_folder(root: Path) -> Path:
    return root / "an4" if (root / "an4/etc").is_dir() else root


def _read_transcription(path: Path, texts: dict[str, str]) -> Iterator[Refusal]:
    """Fill ``texts`` by id and yield what is wrong on the way."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        match = _TRANSCRIPT.match(line.strip())
        place = f"{path}, line {number}"
        if match is None:
            yield Refusal("", place, f"the line is {line!r}; expected '<s> TEXT </s> (ID)'")
        elif match["id"] in texts:
            yield Refusal(match["id"], place, "its id already stands in this file")
        else:
            texts[match["id"]] = match["text"].strip()


def _find_audio(folder: Path, name: str, text: str) -> CorpusItem | Refusal:
    speaker = Path(name).parent.name
    for suffix in SUFFIXES:
        audio = folder / f"{name}{suffix}"
        if audio.is_file():
            raw = _RAW if suffix == ".raw" else None
            return CorpusItem(Path(name).name, audio, text, speaker, raw)
    return Refusal(
        Path(name).name,
        str(folder / name),
        f"transcript without audio, looked for {' '.join(SUFFIXES)}",
    )


AN4 = Corpus(
    summary="an hour of spelled names, numbers and dates (CMU census), wav, sph, raw or flac",
    splits=find_an4_splits,
    read=read_an4,
    normalizer="none",
    valid_utterances=VALID_UTTERANCES,
)
