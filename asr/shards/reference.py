"""Where an utterance's audio lies in a shard, as a manifest's ``audio_filepath`` says it."""

import re
from dataclasses import dataclass

from asr.errors import ManifestError

_MARK = ".tar#offset="
_PATTERN = re.compile(
    r"(?P<shard>.+\.tar)#offset=(?P<offset>\d+)&size=(?P<size>\d+)&crc32=(?P<crc32>[0-9a-f]{8})"
    r"&suffix=(?P<suffix>\.\w+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class ShardReference:
    """A stretch of a tar file.

    Attributes:
        shard: path or URL of the tar file.
        offset: of the first byte of the audio.
        size: in bytes.
        crc32: of these bytes.
        suffix: the audio file's own, such as ".flac".
    """

    shard: str
    offset: int
    size: int
    crc32: int
    suffix: str

    def __str__(self) -> str:
        return (
            f"{self.shard}#offset={self.offset}&size={self.size}&crc32={self.crc32:08x}"
            f"&suffix={self.suffix}"
        )

    @classmethod
    def parse(cls, text: str) -> "ShardReference":
        """Read a reference.

        Raises:
            ManifestError: it is none.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ManifestError(
                f"audio_filepath '{text}' is no stretch of a shard; expected "
                "SHARD.tar#offset=N&size=N&crc32=HEX&suffix=.flac, as `asr prepare --shards` writes"
            )
        return cls(
            match["shard"],
            int(match["offset"]),
            int(match["size"]),
            int(match["crc32"], 16),
            match["suffix"],
        )


def is_shard_reference(path: str) -> bool:
    """Tell whether a manifest's ``audio_filepath`` names a stretch of a shard."""
    return _MARK in path
