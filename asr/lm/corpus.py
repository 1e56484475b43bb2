"""Text for language models: plain, gzipped or the transcripts of manifests, read as a stream."""

import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from asr.errors import TextError
from asr.lm.tokens import token_names
from asr.manifest import read_manifest
from asr.tokenizer import Tokenizer

BLOCK_BYTES = 1 << 22


def read_blocks(paths: Sequence[Path | str], block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Read whole lines, many at a time, with a progress bar.

    Args:
        paths: UTF-8 text with one sentence a line, plain or ``.gz``, or manifests (``.jsonl``),
            whose transcripts are taken.
        block_bytes: about how much to read at once.

    Yields:
        Lines, each ended by a line break.

    Raises:
        TextError: a file is missing, broken or not UTF-8.
    """
    files = [Path(path) for path in paths]
    for path in files:
        if not path.is_file():
            raise TextError(f"text {path} is no file; expected text, .gz or a manifest")
    total = sum(path.stat().st_size for path in files)
    with tqdm(
        total=total, desc="reading", unit="B", unit_scale=True, leave=False, delay=2
    ) as progress:
        for path in files:
            yield from _read_file(path, block_bytes, progress.update)


def read_sentences(paths: Sequence[Path | str]) -> Iterator[str]:
    """Read one sentence at a time; white space is folded and empty lines are left out.

    Raises:
        TextError: a file is missing, broken or not UTF-8.
    """
    for block in read_blocks(paths):
        for line in block.decode().split("\n"):
            if sentence := " ".join(line.split()):
                yield sentence


def spell_blocks(blocks: Iterable[bytes], tokenizer: Tokenizer) -> Iterator[bytes]:
    """Turn sentences into tokens, written as words are: separated by spaces.

    Args:
        blocks: whole lines, as ``read_blocks`` gives them.
        tokenizer: its tokens are the units.

    Raises:
        TokenizerError: a character that the vocabulary lacks; names it.
    """
    names = token_names(tokenizer)
    for block in blocks:
        lines = []
        for line in block.decode().split("\n"):
            if sentence := " ".join(line.split()):
                lines.append(" ".join([names[token] for token in tokenizer.encode(sentence)]))
        yield "".join(line + "\n" for line in lines).encode()


def _read_file(path: Path, block_bytes: int, advance: Callable[[int], object]) -> Iterator[bytes]:
    if path.suffix == ".jsonl":
        texts = [" ".join(utterance.text.split()) for utterance in read_manifest(path)]
        advance(path.stat().st_size)
        yield "".join(text + "\n" for text in texts).encode()
        return
    try:
        with path.open("rb") as raw:
            # Reading ends with the file below it, which is closed.
            stream = gzip.open(raw) if path.suffix == ".gz" else raw  # noqa: SIM115
            yield from _whole_lines(path, stream, raw, block_bytes, advance)
    except (OSError, EOFError) as error:
        raise TextError(f"text {path} cannot be read: {error}") from error


def _whole_lines(
    path: Path,
    stream: IO[bytes] | gzip.GzipFile,
    raw: io.BufferedReader,
    block_bytes: int,
    advance: Callable[[int], object],
) -> Iterator[bytes]:
    rest, place, lines = b"", 0, 0
    while block := stream.read(block_bytes):
        advance(raw.tell() - place)
        place = raw.tell()
        block = rest + block
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            yield _checked(block[:cut], path, lines)
            lines += block.count(b"\n", 0, cut)
    if rest:
        yield _checked(rest + b"\n", path, lines)


def _checked(block: bytes, path: Path, lines_before: int) -> bytes:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        number = lines_before + block.count(b"\n", 0, error.start) + 1
        raise TextError(
            f"text {path}, line {number} is not UTF-8 ({error.reason}); convert it, for example "
            "by iconv"
        ) from error
    # Editors on Windows put a byte order mark first.
    return block.removeprefix(b"\xef\xbb\xbf") if not lines_before else block
