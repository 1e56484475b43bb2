"""Checksums tell whether a file holds the very bytes that it should."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes must hash to.

    Attributes:
        algorithm: a name that hashlib knows, such as "sha256".
        digest: hexadecimal, lower case.
        source: where the value comes from, for messages.
    """

    algorithm: str
    digest: str
    source: str


def file_digest(path: Path, algorithm: str) -> str:
    """Hash a file, with a progress bar where it is large.

    Args:
        path: the file.
        algorithm: a name that hashlib knows.

    Returns:
        The digest, hexadecimal.
    """
    digest = hashlib.new(algorithm)
    size = path.stat().st_size
    title = f"{algorithm} of {path.name.removesuffix('.part').lstrip('.')}"
    bar = tqdm(desc=title, total=size, unit="B", unit_scale=True, delay=1.0, disable=None)
    with path.open("rb") as stream, bar:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
