"""Shards are written in WebDataset's layout: for each utterance its audio as it is, and a JSON.

    train-000000.tar
        1272-128104-0000.flac
        1272-128104-0000.json     {"id": ..., "text": ..., "speaker": ..., "duration": ...}

Beside them lies a manifest, whose paths say where in which shard each utterance's audio is.
Training reads by it, other programs need only the tar files.
"""

import io
import json
import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs
from tqdm import tqdm

from asr.errors import UsageError
from asr.manifest import Utterance
from asr.shards.reference import ShardReference

SHARD_BYTES = 500_000_000


@dataclass(frozen=True)
class ShardSummary:
    """What was written.

    Attributes:
        manifest: path or URL of the manifest that training takes.
        shards: how many there are.
        size: of all of them in bytes.
        written: False if they were there already.
    """

    manifest: str
    shards: int
    size: int
    written: bool


def write_shards(
    utterances: Sequence[Utterance], name: str, place: str, shard_bytes: int = SHARD_BYTES
) -> ShardSummary:
    """Write the audio of a manifest as shards, each whole or not at all.

    Utterances are shuffled once, always in the same way, so that programs which read a shard from
    its first to its last byte do not hear one speaker after another. Nothing is written where the
    same utterances, with files of the same sizes, were written before.

    Args:
        utterances: what to write.
        name: of the manifest, with which the shards' names begin.
        place: a folder, or a URL that fsspec knows, such as s3://bucket/corpus.
        shard_bytes: a shard ends with the utterance that reaches it.

    Returns:
        Where the manifest lies, and how much there is.

    Raises:
        UsageError: fsspec knows no such place, or lacks a package for it.
        OSError: audio cannot be read, or the place not be written.
    """
    try:
        system, root = url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise UsageError(f"--shards {place}: {error}") from error
    order = list(utterances)
    random.Random(0).shuffle(order)
    record, inputs = f"{root}/.{name}.shards.json", _fingerprint(order, shard_bytes)
    manifest = f"{place.rstrip('/')}/{name}.jsonl"
    sizes = _whole(system, root, record, inputs)
    if sizes:
        return ShardSummary(manifest, len(sizes), sum(sizes.values()), False)
    system.makedirs(root, exist_ok=True)
    listed: dict[str, Utterance] = {}
    sizes = {}
    bar = tqdm(order, f"shards of {name}", unit="utt", delay=1.0, disable=None)
    waiting = iter(bar)
    while len(listed) < len(order):
        shard = f"{name}-{len(sizes):06d}.tar"
        with _whole_file(system, f"{root}/{shard}") as stream:
            for utterance in _fill(stream, waiting, shard, shard_bytes):
                listed[utterance.id] = utterance
        sizes[shard] = int(system.size(f"{root}/{shard}"))
    bar.close()
    with _whole_file(system, f"{root}/{name}.jsonl") as stream:
        # In the order in which they came, so that training meets the very batches of the files.
        for utterance in utterances:
            line = json.dumps(asdict(listed[utterance.id]), ensure_ascii=False)
            stream.write(f"{line}\n".encode())
    with _whole_file(system, record) as stream:
        stream.write(json.dumps({"inputs": inputs, "shards": sizes}).encode())
    return ShardSummary(manifest, len(sizes), sum(sizes.values()), True)


def _fill(
    stream: IO[bytes], waiting: Iterator[Utterance], shard: str, shard_bytes: int
) -> Iterator[Utterance]:
    """Write one shard, and list what goes into it."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        while archive.offset < shard_bytes and (utterance := next(waiting, None)) is not None:
            yield _add(archive, utterance, shard)


def _add(archive: tarfile.TarFile, utterance: Utterance, shard: str) -> Utterance:
    """Append an utterance's two files, and list it as it lies there."""
    content = Path(utterance.audio_filepath).read_bytes()
    suffix = Path(utterance.audio_filepath).suffix.lower() or ".audio"
    # WebDataset takes for the key what stands before the first dot.
    key = utterance.id.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")
    offset = _append(archive, f"{key}{suffix}", content)
    facts = {k: v for k, v in asdict(utterance).items() if k != "audio_filepath"}
    _append(archive, f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())
    reference = ShardReference(shard, offset, len(content), zlib.crc32(content), suffix)
    return replace(utterance, audio_filepath=str(reference))


def _append(archive: tarfile.TarFile, name: str, content: bytes) -> int:
    """Append one file and give the offset of its first byte."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    header = member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    offset = archive.offset + len(header)
    archive.addfile(member, io.BytesIO(content))
    return offset


@contextmanager
def _whole_file(system: Any, path: str) -> Iterator[IO[bytes]]:
    """Open a file that appears only when the block ends without an error."""
    stream = system.open(path, "wb", autocommit=False)
    try:
        yield stream
        stream.close()
        stream.commit()
    except BaseException:
        stream.close()
        stream.discard()
        raise


def _fingerprint(utterances: Sequence[Utterance], shard_bytes: int) -> dict[str, int]:
    crc = 0
    for utterance in utterances:
        status = Path(utterance.audio_filepath).stat()
        facts = json.dumps([asdict(utterance), status.st_size, status.st_mtime_ns])
        crc = zlib.crc32(facts.encode(), crc)
    return {"utterances": len(utterances), "crc32": crc, "shard_bytes": shard_bytes}


def _whole(system: Any, root: str, record: str, inputs: dict[str, int]) -> dict[str, int]:
    """Give the sizes of shards that were written before, if they are those asked for."""
    try:
        content = json.loads(system.cat_file(record))
        sizes: dict[str, int] = content["shards"]
        same = content["inputs"] == inputs and all(
            system.size(f"{root}/{shard}") == size for shard, size in sizes.items()
        )
    except (OSError, ValueError, KeyError):
        return {}
    return sizes if same else {}
