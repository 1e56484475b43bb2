"""Audio is read out of shards by byte ranges, several at once, from disk, HTTP or object stores."""

import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from asr.audio import load_waveform
from asr.errors import AudioError
from asr.resampling import Samples
from asr.shards.reference import ShardReference

RETRIES = 4
PAUSE_SECONDS = 0.5
# A file system in memory, where there is one.
_MEMORY = Path("/dev/shm")


class ShardReader:
    """Reads utterances out of shards; nothing is kept on the disk.

    Every utterance is a byte range of its own, so any order of utterances can be read, and training
    from shards sees the very batches that training from files does.
    """

    def waveforms(self, references: Sequence[str], sample_rate: int) -> list[Samples]:
        """Read and decode utterances, the ranges of one shard's place all at once.

        Args:
            references: ``audio_filepath`` of each.
            sample_rate: of the results in Hz.

        Returns:
            Waveforms (S,) float32 in the same order.

        Raises:
            ManifestError: one is no reference to a shard.
            AudioError: a range cannot be had after several attempts, is not what was written, or
                is no sound audio.
        """
        parsed = [ShardReference.parse(reference) for reference in references]
        return [
            _decode(content, reference, sample_rate)
            for content, reference in zip(self.contents(parsed), parsed, strict=True)
        ]

    def contents(self, references: Sequence[ShardReference]) -> list[bytes]:
        """Read the bytes of utterances.

        Args:
            references: where they lie.

        Raises:
            AudioError: as ``waveforms``.
        """
        found: dict[int, bytes] = {}
        missing = list(range(len(references)))
        for attempt in range(1 + RETRIES):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            replies = _ranges([references[index] for index in missing])
            results = dict(zip(missing, replies, strict=True))
            for index, reply in results.items():
                if isinstance(reply, bytes):
                    found[index] = _checked(reply, references[index])
            missing = [index for index in missing if index not in found]
            if not missing:
                break
        if missing:
            reference, error = references[missing[0]], results[missing[0]]
            raise AudioError(
                f"{reference.shard} cannot be read at byte {reference.offset}, after "
                f"{1 + RETRIES} attempts: {type(error).__name__} {error}"
            ) from error
        return [found[index] for index in range(len(references))]


def _ranges(references: Sequence[ShardReference]) -> list[Any]:
    """Ask for ranges; those that fail give their exceptions."""
    replies: list[Any] = [None] * len(references)
    groups: dict[Any, list[int]] = {}
    paths: list[str] = []
    for index, reference in enumerate(references):
        # Fsspec remembers its file systems, so that connections stay open.
        system, path = url_to_fs(reference.shard)
        groups.setdefault(system, []).append(index)
        paths.append(path)
    for system, indices in groups.items():
        asked = [references[index] for index in indices]
        answers = system.cat_ranges(
            [paths[index] for index in indices],
            [reference.offset for reference in asked],
            [reference.offset + reference.size for reference in asked],
            on_error="return",
        )
        for index, answer in zip(indices, answers, strict=True):
            replies[index] = answer
    return replies


def _checked(content: bytes, reference: ShardReference) -> bytes:
    if len(content) != reference.size:
        raise AudioError(
            f"{reference.shard} gave {len(content)} bytes for the {reference.size} at byte "
            f"{reference.offset}: it was cut, or its server knows no ranges; expected one that does"
        )
    if zlib.crc32(content) != reference.crc32:
        raise AudioError(
            f"{reference.shard} does not hold at byte {reference.offset} what was written there; "
            "write the shards anew, or take the manifest that belongs to them"
        )
    return content


def _decode(content: bytes, reference: ShardReference, sample_rate: int) -> Samples:
    folder = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.NamedTemporaryFile(dir=folder, suffix=reference.suffix) as stream:
        stream.write(content)
        stream.flush()
        try:
            return load_waveform(stream.name, sample_rate)
        except AudioError as error:
            place = f"{reference.shard}, byte {reference.offset}"
            raise AudioError(str(error).replace(stream.name, place)) from error
