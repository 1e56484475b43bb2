"""Log-probabilities of many files, encoded in batches by length."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from asr.encoding import Encoding, LogProbs
from asr.recordings import Loader
from asr.transcriber import Transcriber


def iterate_log_probs(
    recognizer: Transcriber,
    paths: Sequence[Path | str],
    *,
    batch_seconds: float = 120.0,
    workers: int = 2,
    progress: Callable[[], object] = lambda: None,
) -> Iterator[LogProbs | str]:
    """Compute the log-probabilities of files, those of like length together.

    Args:
        recognizer: whose model encodes.
        paths: audio files.
        batch_seconds: seconds of audio that are encoded together; changes speed and memory only.
        workers: threads that read audio ahead.
        progress: called when a file is done.

    Yields:
        For each file in order ``(U, V)`` float32, natural logarithms, or in a sentence
        why there are none.
    """
    loader = Loader(paths, recognizer.acoustic.features, workers=workers)
    encoding = Encoding(recognizer.acoustic, loader, batch_seconds=batch_seconds)
    open_parts: dict[int, list[LogProbs]] = {}
    done: dict[int, LogProbs | str] = {}
    following = 0
    try:
        for part in encoding:
            index = part.recording.index
            open_parts.setdefault(index, []).append(part.log_probs)
            if not part.last:
                continue
            parts = open_parts.pop(index)
            done[index] = np.concatenate(parts) if part.error is None else part.error
            progress()
            while following in done:
                yield done.pop(following)
                following += 1
    finally:
        loader.close()
