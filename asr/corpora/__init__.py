"""Corpora by name: how to find, read and, for the spoken ones, make them."""

from asr.corpora.an4 import AN4
from asr.corpora.census import CENSUS
from asr.corpora.corpus import Corpus, CorpusItem, RawAudio, ReadOptions, Refusal
from asr.corpora.folder import FOLDER
from asr.corpora.librispeech import LIBRISPEECH
from asr.corpora.release import Part, Release
from asr.corpora.spoken import SPOKEN

CORPORA: dict[str, Corpus] = {
    "librispeech": LIBRISPEECH,
    "an4": AN4,
    "folder": FOLDER,
    "spoken": SPOKEN,
    "census": CENSUS,
}

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusItem",
    "Part",
    "RawAudio",
    "ReadOptions",
    "Refusal",
    "Release",
]
