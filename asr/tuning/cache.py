"""Log-probabilities of a set of utterances, computed once and kept in files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from asr.encoding import LogProbs
from asr.files import atomic_write
from asr.model_config import CONFIG_NAME, holds_weights

INDEX = "log_probs.json"
FRAMES = "log_probs.npy"


class LogProbCache(Sequence[LogProbs]):
    """Log-probabilities in one memory-mapped file; item ``i`` is the ``(U, V)`` of an utterance.

    Args:
        folder: as ``fill_cache`` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self._ends = np.cumsum([0, *index["frames"]])
        self._rows = np.load(folder / FRAMES, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._ends) - 1

    # Sequence wants an overload each for an index and a slice.
    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        return np.array(self._rows[self._ends[place] : self._ends[place + 1]])


def fingerprint(model: Path | str, audio_filepaths: Sequence[str], backend: str) -> str:
    """Tell a model and its recordings from others: their contents, and sizes and times of audio.

    Args:
        model: a model folder.
        audio_filepaths: the recordings, in order.
        backend: what runs the model; they round differently.
    """
    digest = hashlib.sha256()
    # The decoder's section changes when weights are tuned and computes no log-probability.
    config = (Path(model) / CONFIG_NAME).read_bytes().partition(b"\ndecoder:")[0]
    weights = [path.read_bytes() for path in sorted(Path(model).iterdir()) if holds_weights(path)]
    for content in (config, *weights):
        digest.update(hashlib.sha256(content).digest())
    digest.update(backend.encode())
    for name in audio_filepaths:
        path = Path(name)
        state = path.stat() if path.is_file() else None
        size = (state.st_size, state.st_mtime_ns) if state else None
        digest.update(f"{name}\0{size}\0".encode())
    return digest.hexdigest()


def open_cache(folder: Path, mark: str) -> LogProbCache | None:
    """Open what ``fill_cache`` wrote, if it is there and of the same model and recordings.

    Args:
        folder: where.
        mark: what ``fingerprint`` gives now.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        found = index["fingerprint"] == mark and len(np.load(folder / FRAMES, mmap_mode="r"))
    except (OSError, ValueError, KeyError):
        return None
    return LogProbCache(folder) if found and found == sum(index["frames"]) else None


def fill_cache(
    folder: Path, mark: str, log_probs: Callable[[], Iterable[LogProbs]]
) -> LogProbCache:
    """Compute log-probabilities and keep them.

    Args:
        folder: where; older ones there are replaced.
        mark: what ``fingerprint`` gives.
        log_probs: computes ``(U, V)`` of each utterance in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Where the index stands, the frames belong to it.
    (folder / INDEX).unlink(missing_ok=True)
    counts: list[int] = []
    width = 0
    with atomic_write(folder / FRAMES, "wb") as stream:
        header = _header(0, 1)
        stream.write(header)
        for rows in log_probs():
            counts.append(len(rows))
            width = rows.shape[1]
            stream.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        stream.seek(0)
        stream.write(_header(sum(counts), width))
    with atomic_write(folder / INDEX) as stream:
        json.dump({"fingerprint": mark, "frames": counts}, stream)
    return LogProbCache(folder)


def _header(frames: int, width: int) -> bytes:
    # NumPy's format 1.0 with the same length for every shape, so that it can be filled in last.
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {width}), }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + f"{text:<117}\n".encode()
