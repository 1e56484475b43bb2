"""Reads n-gram models in the ARPA format, with the liberties that toolkits take.

Counts of the header may come in any order, n-grams in any order, fields may be separated by tabs or
spaces, back-offs may be missing, and so may ``<unk>`` and the contexts of longer n-grams.
"""

import gzip
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from asr.errors import LanguageModelError
from asr.lm.levels import Level
from asr.lm.trie_building import NGrams, build_trie
from asr.lm.vocabulary import SPECIAL, UNKNOWN

_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)$")
_SECTION = re.compile(rb"\\(\d+)-grams:$")
# What a model without an unknown word gets; the file format has no way to say "never".
_NEVER = -99.0
_CHUNK = 1 << 14


def read_arpa(path: Path | str) -> tuple[list[str], list[Level]]:
    """Read a model.

    Args:
        path: the text, plain or ``.gz``.

    Returns:
        The vocabulary in the order of ids, and the n-grams of each order.

    Raises:
        LanguageModelError: no such file, or a line that is broken; names its number and shows it.
    """
    return _ArpaReader(Path(path)).read()


class _ArpaReader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.ids: dict[bytes, int] = {name.encode(): i for i, name in enumerate(SPECIAL)}
        self.known: set[int] = set()
        self.counts: dict[int, int] = {}
        self.sections: dict[int, NGrams] = {}
        self.waiting: list[tuple[int, bytes]] = []
        self.bar: tqdm[NoReturn]

    def read(self) -> tuple[list[str], list[Level]]:
        try:
            with (
                self.path.open("rb") as raw,
                tqdm(
                    total=self.path.stat().st_size,
                    desc="reading",
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    delay=2,
                ) as self.bar,
            ):
                # Reading ends with the file below it, which is closed.
                stream = gzip.open(raw) if self.path.suffix == ".gz" else raw  # noqa: SIM115
                lines = self._stripped(iter(stream), raw.tell)
                self._header(lines)
                self._sections(lines)
        except (OSError, EOFError) as error:
            raise LanguageModelError(f"ARPA file {self.path} cannot be read: {error}") from error
        orders = [self.sections[n] for n in sorted(self.sections)]
        self._add_unknown(orders[0])
        words = [word.decode() for word in self.ids]
        return words, build_trie(orders, words, str(self.path))

    def _stripped(self, lines: Iterator[bytes], place: Callable[[], int]) -> Iterator[bytes]:
        for line in lines:
            self.number += 1
            if not self.number % _CHUNK:
                self.bar.update(place() - self.bar.n)
            yield line.strip()

    def _header(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            if line == b"\\data\\":
                break
        else:
            raise LanguageModelError(
                f"{self.path} is no ARPA file: it lacks the line \\data\\; expected an n-gram "
                "model as SRILM or KenLM write it"
            )
        for line in lines:
            if match := _COUNT.match(line):
                self.counts[int(match[1])] = int(match[2])
            elif match := _SECTION.match(line):
                self._begin(int(match[1]))
                return
            elif line:
                self._refuse(line, "expected a count such as 'ngram 1=200003' or '\\1-grams:'")
        self._refuse(b"", "the file breaks off before its n-grams")

    def _begin(self, n: int) -> None:
        if n not in self.counts or n in self.sections:
            self._refuse(
                f"\\{n}-grams:".encode(), "the header has no count for it, or it is here twice"
            )
        if n > 1 and 1 not in self.sections:
            self._refuse(f"\\{n}-grams:".encode(), "expected the 1-grams first")
        self.order = n
        self.sections[n] = NGrams(n)

    def _sections(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            if not line:
                continue
            if line.startswith(b"\\") and len(line.split()) == 1:
                self._take_ngrams()
                self._end_section()
                if line == b"\\end\\":
                    break
                match = _SECTION.match(line)
                if not match:
                    self._refuse(line, "expected '\\N-grams:' or '\\end\\'")
                self._begin(int(match[1]))
                continue
            self.waiting.append((self.number, line))
            if len(self.waiting) == _CHUNK:
                self._take_ngrams()
        else:
            self._take_ngrams()
            self._refuse(b"", "the file breaks off: it lacks the line \\end\\")
        if missing := [n for n in range(1, max(self.counts) + 1) if n not in self.sections]:
            self._refuse(b"\\end\\", f"the section \\{missing[0]}-grams: is missing")

    def _end_section(self) -> None:
        found, expected = len(self.sections[self.order]), self.counts[self.order]
        if found != expected:
            self._refuse(b"", f"the {self.order}-grams end: {found} of {expected} were found")

    def _take_ngrams(self) -> None:
        waiting, self.waiting = self.waiting, []
        if not waiting or self._take_together([line.split() for _, line in waiting]):
            return
        # Something is odd, or there are new words: one by one.
        last = self.number
        for self.number, line in waiting:
            self._ngram(line)
        self.number = last

    def _take_together(self, lines: list[list[bytes]]) -> bool:
        n = self.order
        if n == 1 or not set(map(len, lines)) <= {n + 1, n + 2}:
            return False
        try:
            probs = np.array([line[0] for line in lines]).astype(np.float64)
            found = [line[n + 1] if len(line) > n + 1 else b"0" for line in lines]
            backoffs = np.array(found).astype(np.float64)
            known = self.ids.__getitem__
            columns = [[known(line[i]) for line in lines] for i in range(1, n + 1)]
        except (KeyError, ValueError):
            return False
        if not ((probs <= 0) & (backoffs < np.inf)).all():
            return False
        self.sections[n].extend(
            np.array(columns, np.int32).T, np.maximum(probs, _NEVER), np.maximum(backoffs, _NEVER)
        )
        return True

    def _ngram(self, line: bytes) -> None:
        n = self.order
        fields = line.split()
        if not n + 1 <= len(fields) <= n + 2:
            self._refuse(line, f"expected a logarithm, {n} words and perhaps a back-off")
        try:
            prob = float(fields[0])
            backoff = float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        except ValueError:
            self._refuse(line, "a logarithm is no number")
        if not prob <= 0 or not backoff < math.inf:
            self._refuse(line, "expected a logarithm of at most 0 and a back-off that is a number")
        words = fields[1 : n + 1]
        if n == 1:
            ids = [self._unigram(words[0], line)]
        else:
            try:
                ids = [self.ids[word] for word in words]
            except KeyError as error:
                self._refuse(line, f"'{error.args[0].decode(errors='replace')}' is no 1-gram")
        self.sections[n].append(ids, max(prob, _NEVER), max(backoff, _NEVER))

    def _unigram(self, word: bytes, line: bytes) -> int:
        try:
            word.decode()
        except UnicodeDecodeError:
            self._refuse(line, "the word is not UTF-8")
        # Kaldi's and the official LibriSpeech models write it in capitals.
        if word == b"<UNK>" and UNKNOWN not in self.known:
            self.ids[word] = index = UNKNOWN
        else:
            index = self.ids.setdefault(word, len(self.ids))
        if index in self.known:
            self._refuse(line, "the word stands there twice")
        self.known.add(index)
        return index

    def _add_unknown(self, unigrams: NGrams) -> None:
        for index in range(len(SPECIAL)):
            if index not in self.known:
                unigrams.append([index], _NEVER, 0.0)

    def _refuse(self, line: bytes, reason: str) -> NoReturn:
        text = line.decode(errors="replace")
        shown = f" '{text[:120]}'" if text else ""
        raise LanguageModelError(f"ARPA file {self.path}, line {self.number}{shown}: {reason}")
