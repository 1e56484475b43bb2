"""The file of an n-gram model: a header and arrays that are mapped into memory as they are.

Bytes 0 to 7 say what the file is, the next 8 how long the header is; the header is JSON with the
format number, the units and the place of every array. All numbers are little-endian.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from asr.decoding.tables import frozen
from asr.errors import LanguageModelError
from asr.files import atomic_write
from asr.lm.levels import ROOT, Level
from asr.lm.ngram import NGramModel, Trie, Units
from asr.lm.workspace import Array

FORMAT = 1
MAGIC = b"ASRNGRAM"
_ALIGNMENT = 64
_SMALL_INDEX = (1 << 32) - 1


def write_ngram(
    path: Path | str, units: Units, words: Sequence[str], levels: Sequence[Level]
) -> None:
    """Write a model's file, whole or not at all.

    Args:
        path: the file to make or replace.
        units: what the words are.
        words: the vocabulary in the order of ids.
        levels: the n-grams of each order.
    """
    counts = [len(level) for level in levels]
    nodes = 1 + sum(counts)
    inner = nodes - counts[-1]
    index = _index_type(nodes)
    vocabulary = np.frombuffer("\n".join(words).encode(), np.uint8)
    sections: list[tuple[str, str, int, Iterator[Array]]] = [
        ("word", "<u4", nodes, _after([0], (level.word for level in levels))),
        ("log10_prob", "<f4", nodes, _after([0.0], (level.log10_prob for level in levels))),
        ("log10_backoff", "<f4", inner, _after([0.0], (x.log10_backoff for x in levels[:-1]))),
        ("first_child", index, inner + 1, _first_children(levels)),
        ("link", index, nodes, _after([ROOT], (level.link for level in levels))),
        ("vocabulary", "|u1", len(vocabulary), iter([vocabulary])),
    ]
    header: dict[str, Any] = {
        "format": FORMAT,
        "unit": units.kind,
        "tokenizer": units.tokenizer,
        "counts": counts,
        "arrays": {},
    }
    place = 0
    for name, dtype, length, _ in sections:
        header["arrays"][name] = {"dtype": dtype, "length": length, "offset": place}
        place = _aligned(place + length * np.dtype(dtype).itemsize)
    content = json.dumps(header).encode()
    content = content.ljust(_aligned(16 + len(content)) - 16)
    with atomic_write(path, "wb") as stream:
        stream.write(MAGIC + len(content).to_bytes(8, "little") + content)
        for _, dtype, length, parts in sections:
            _write_section(stream, dtype, length, parts)


def _write_section(stream: IO[bytes], dtype: str, length: int, parts: Iterator[Array]) -> None:
    written = 0
    for part in parts:
        # In pieces: the array may be larger than memory, and so would be its copy.
        for start in range(0, len(part), 1 << 22):
            piece = np.ascontiguousarray(part[start : start + (1 << 22)], dtype)
            stream.write(piece.data)
            written += len(piece)
    assert written == length
    size = length * np.dtype(dtype).itemsize
    stream.write(bytes(_aligned(size) - size))


def _after(first: list[float] | list[int], parts: Iterator[Array]) -> Iterator[Array]:
    yield np.array(first)
    yield from parts


def _first_children(levels: Sequence[Level]) -> Iterator[Array]:
    yield np.array([1])
    first = 1
    for level in levels[:-1]:
        first += len(level)
        for start in range(0, len(level), 1 << 22):
            yield first + level.first_child[start : min(len(level), start + (1 << 22))]
    yield np.array([1 + sum(map(len, levels))])


def read_ngram(path: Path | str) -> NGramModel:
    """Open a model's file; its arrays stay on disk until they are used.

    Raises:
        LanguageModelError: no such file, another kind of file, an unknown format number, or a file
            that breaks off.
    """
    path = Path(path)
    header, start = _read_header(path)
    try:
        arrays = {name: _map(path, start, entry) for name, entry in header["arrays"].items()}
        words = bytes(arrays.pop("vocabulary")).decode().split("\n")
        units = Units(header["unit"], header["tokenizer"])
        trie = Trie(tuple(header["counts"]), **arrays)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise LanguageModelError(
            f"language model {path} is damaged ({error}); convert or train it again"
        ) from error
    return NGramModel(units, words, trie)


def trie_of(levels: Sequence[Level]) -> Trie:
    """Join levels into the arrays of a model, in memory, of the types that its file has."""
    counts = tuple(map(len, levels))
    index = _index_type(1 + sum(counts))
    return Trie(
        counts,
        frozen(np.concatenate(([0], *(level.word for level in levels))), np.uint32),
        frozen(np.concatenate(([0], *(level.log10_prob for level in levels))), np.float32),
        frozen(np.concatenate(([0], *(x.log10_backoff for x in levels[:-1]))), np.float32),
        frozen(np.concatenate(list(_first_children(levels))), index),
        frozen(np.concatenate(([ROOT], *(level.link for level in levels))), index),
    )


def _index_type(nodes: int) -> str:
    return "<u4" if nodes < _SMALL_INDEX else "<u8"


def levels_of(trie: Trie) -> list[Level]:
    """Give the n-grams of each order of a model that was read."""
    levels = []
    start = 1
    for n, count in enumerate(trie.counts, start=1):
        span = slice(start, start + count)
        start += count
        highest = n == len(trie.counts)
        backoff = np.empty(0, np.float32) if highest else trie.log10_backoff[span]
        # A level ends where the first child of the next one begins.
        ends = slice(span.start, span.stop + 1)
        first_child = np.empty(0, np.int64) if highest else trie.first_child[ends] - start
        levels.append(
            Level(trie.word[span], trie.log10_prob[span], backoff, first_child, trie.link[span])
        )
    return levels


def is_ngram_file(path: Path | str) -> bool:
    """Tell whether a file is one that ``write_ngram`` made."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as stream:
            magic, size = stream.read(8), int.from_bytes(stream.read(8), "little")
            content = stream.read(min(size, path.stat().st_size)) if magic == MAGIC else b""
    except OSError as error:
        raise LanguageModelError(f"language model {path} cannot be read: {error}") from error
    if magic != MAGIC:
        raise LanguageModelError(
            f"{path} is no language model of asr; `asr lm convert` makes one from an ARPA file"
        )
    try:
        header = json.loads(content)
        found = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise LanguageModelError(f"the header of language model {path} is damaged") from error
    if found != FORMAT:
        raise LanguageModelError(
            f"language model {path} has format {found}, this version of asr reads format {FORMAT}; "
            "convert or train it again"
        )
    return header, 16 + size


def _map(path: Path, start: int, entry: dict[str, Any]) -> Array:
    dtype, length = np.dtype(entry["dtype"]), int(entry["length"])
    if not length:
        return np.empty(0, dtype)
    mapped = np.memmap(path, dtype, "r", offset=start + entry["offset"], shape=(length,))
    # Slices of a plain array cost a fraction of what slices of a memmap do.
    return mapped.view(np.ndarray)


def _aligned(size: int) -> int:
    return math.ceil(size / _ALIGNMENT) * _ALIGNMENT
