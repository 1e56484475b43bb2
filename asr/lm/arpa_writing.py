"""Writes n-gram models in the ARPA format.

Millions of lines are laid out as rows of bytes with NumPy, since one line at a time would take
longer than all the counting.
"""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from asr.files import atomic_write
from asr.lm.levels import Level
from asr.lm.workspace import Array

_CHUNK = 1 << 15
# Longer words are rare; lines with one are put together as strings.
_MAX_WIDTH = 64
_DECIMALS = 7


def write_arpa(path: Path | str, words: Sequence[str], levels: Sequence[Level]) -> None:
    """Write a model as text that every toolkit reads.

    Args:
        path: the file to make or replace; ``.gz`` is compressed.
        words: the vocabulary in the order of ids.
        levels: the n-grams of each order.

    Source: ngram-format(5) of SRILM.
    """
    layout = _RowLayout(words)
    with atomic_write(path, "wb") as raw:
        # Closed at the end, before the file below it.
        stream = gzip.open(raw, "wb", 6) if Path(path).suffix == ".gz" else raw  # noqa: SIM115
        stream.write(b"\\data\\\n")
        for n, level in enumerate(levels, start=1):
            stream.write(f"ngram {n}={len(level)}\n".encode())
        for n in range(1, len(levels) + 1):
            stream.write(f"\n\\{n}-grams:\n".encode())
            for part in _lines(layout, levels[:n]):
                stream.write(part)
        stream.write(b"\n\\end\\\n")
        if stream is not raw:
            stream.close()


def _lines(layout: "_RowLayout", levels: Sequence[Level]) -> Iterator[bytes]:
    top = levels[-1]
    for low in range(0, len(top), _CHUNK):
        span = slice(low, min(len(top), low + _CHUNK))
        places = np.arange(span.start, span.stop)
        columns = [top.word[span]]
        for level in levels[-2::-1]:
            # Who the parent is: the last one whose children begin no later.
            places = level.first_child.searchsorted(places, side="right") - 1
            columns.append(level.word[places])
        backoff = top.log10_backoff[span] if len(top.log10_backoff) else None
        yield layout.lines(top.log10_prob[span], columns[::-1], backoff)


class _RowLayout:
    # Lays lines out in a matrix of bytes and then drops the bytes that no line needs.

    def __init__(self, words: Sequence[str]) -> None:
        encoded = [word.encode() for word in words]
        self.words = words
        self.lengths = np.array([len(word) for word in encoded])
        width = min(_MAX_WIDTH, int(self.lengths.max()))
        rows = np.array([word[:width] for word in encoded], f"S{width}")
        self.letters = rows.view(np.uint8).reshape(len(words), width)
        self.digits = {
            count: np.array([f"{i:0{count}}".encode() for i in range(10**count)])
            .view(np.uint8)
            .reshape(10**count, count)
            for count in (2, 3, 4)
        }

    def lines(self, probs: Array, columns: Sequence[Array], backoffs: Array | None) -> bytes:
        if max(int(self.lengths[column].max()) for column in columns) > _MAX_WIDTH:
            return self._slow_lines(probs, columns, backoffs)
        pieces = [self._numbers(probs)]
        for position, column in enumerate(columns):
            pieces += [self._sign(" " if position else "\t", len(probs)), self._words(column)]
        if backoffs is not None:
            pieces += [self._sign("\t", len(probs)), self._numbers(backoffs)]
        pieces.append(self._sign("\n", len(probs)))
        rows = np.concatenate([row for row, _ in pieces], axis=1)
        used = np.concatenate([mask for _, mask in pieces], axis=1)
        kept: bytes = rows[used].tobytes()
        return kept

    def _words(self, column: Array) -> tuple[Array, Array]:
        lengths = self.lengths[column]
        width = int(lengths.max())
        return self.letters[:, :width][column], np.arange(width) < lengths[:, None]

    def _numbers(self, values: Array) -> tuple[Array, Array]:
        # Never positive, at most two digits before the point.
        scaled = np.rint(values.astype(np.float64) * -(10**_DECIMALS)).astype(np.int64)
        whole, rest = np.divmod(scaled, 10**_DECIMALS)
        high, low = np.divmod(rest, 10**4)
        sign, sign_used = self._sign("-", len(values))
        point, _ = self._sign(".", len(values))
        rows = (sign, self.digits[2][whole], point, self.digits[3][high], self.digits[4][low])
        whole_used = np.stack((whole > 9, np.ones(len(values), bool)), axis=1)
        rest_used = np.repeat((rest > 0)[:, None], 1 + _DECIMALS, axis=1)
        used = (sign_used & (scaled > 0)[:, None], whole_used, rest_used)
        return np.concatenate(rows, axis=1), np.concatenate(used, axis=1)

    def _sign(self, letter: str, count: int) -> tuple[Array, Array]:
        return np.full((count, 1), ord(letter), np.uint8), np.ones((count, 1), bool)

    def _slow_lines(self, probs: Array, columns: Sequence[Array], backoffs: Array | None) -> bytes:
        grams = zip(*([self.words[i] for i in column.tolist()] for column in columns), strict=True)
        fields = [_texts(probs), list(map(" ".join, grams))]
        if backoffs is not None:
            fields.append(_texts(backoffs))
        return "".join("\t".join(row) + "\n" for row in zip(*fields, strict=True)).encode()


def _texts(values: Array) -> list[str]:
    return [f"{value:.{_DECIMALS}f}" if value else "0" for value in values.tolist()]
