"""The words of an n-gram model: ids in the order of appearance, three of them fixed."""

from collections.abc import Iterable, Sequence

import numpy as np

from asr.errors import TextError
from asr.lm.workspace import Array, Column

UNKNOWN, START, END = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")
# No byte of UTF-8, so that no word can be taken for the end of a line.
_LINE_END = b"\xff"


class GrowingVocabulary(dict[bytes, int]):
    """Gives every word that it is asked for an id; new words get the next one."""

    def __init__(self) -> None:
        super().__init__((name.encode(), index) for index, name in enumerate(SPECIAL))

    def __missing__(self, word: bytes) -> int:
        if word == _LINE_END:
            return END
        self[word] = index = len(self)
        return index

    def words(self) -> list[str]:
        """Give all words in the order of their ids."""
        return [word.decode() for word in self]


def encode_blocks(blocks: Iterable[bytes], vocabulary: GrowingVocabulary, ids: Column) -> int:
    """Turn sentences into ids; what stands between two sentences is one ``END``.

    Args:
        blocks: whole lines, each ended by a line break.
        vocabulary: gets the words that are new.
        ids: gets one ``END`` first, then the words of each sentence and ``END`` after them; lines
            without a word are left out.

    Returns:
        How many sentences there are.

    Raises:
        TextError: a word is one of the names that have a meaning of their own.
    """
    ids.append(np.array([END], np.int32))
    sentences = 0
    last = END
    for block in blocks:
        pieces = block.replace(b"\n", b" \xff ").split()
        part = np.fromiter(map(vocabulary.__getitem__, pieces), np.int32, len(pieces))
        _refuse_special(part, pieces)
        before = np.concatenate((np.array([last], np.int32), part[:-1]))
        part = part[(part != END) | (before != END)]
        if len(part):
            last = int(part[-1])
        sentences += int(np.count_nonzero(part == END))
        ids.append(part)
    return sentences


def _refuse_special(part: Array, pieces: Sequence[bytes]) -> None:
    # The line end is END as well; any other word below 3 is a name that must not occur.
    suspects = np.flatnonzero(part < len(SPECIAL))
    if np.count_nonzero(part == END) == pieces.count(_LINE_END) == len(suspects):
        return
    found = next(pieces[i] for i in suspects.tolist() if pieces[i] != _LINE_END)
    raise TextError(
        f"the text holds the word {found.decode()}, which has a meaning of its own in a language "
        "model; remove it from the text"
    )
