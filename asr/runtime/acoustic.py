"""An exported model as what encodes recordings, in threads that never wait within a layer."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from asr.cutting import cut_features
from asr.encoding import LogProbs
from asr.frame_file import FrameFile
from asr.model_config import ModelConfig
from asr.recordings import Recording
from asr.runtime.engine import Engine, Part
from asr.runtime.features import ArrayFeatures
from asr.runtime.layout import HEAD, SUBSAMPLING
from asr.runtime.sweep import StretchSweep
from asr.windows import Chunking, Window, cut_stretches

Frames = NDArray[np.float32]
T = TypeVar("T")
# Stretches of a long recording that are read side by side, and the most seconds of each.
STRETCHES = 8
STRETCH_SECONDS = 15.0


class GraphAcoustic:
    """An exported model.

    Args:
        folder: of the model.
        config: what the folder says of it.
        engine: runs its graphs.
        threads: how many compute at once.

    Raises:
        ModelFolderError: a graph is missing or broken.
    """

    # An encoder of one direction is swept through long recordings as well.
    carrier = None

    def __init__(self, folder: Path, config: ModelConfig, engine: Engine, threads: int) -> None:
        encoder = config.model["encoder"]
        self.features = ArrayFeatures(config.model["features"])
        self.sample_rate = self.features.sample_rate
        self.subsampling_factor = int(encoder["subsampling"])
        self.samples_per_frame = self.features.hop * self.subsampling_factor
        self.vocabulary_size = config.tokenizer.vocabulary_size
        self._width = int(encoder["width"])
        self._directions = 2 if encoder["bidirectional"] else 1
        self._units = self._width // self._directions
        self._tolerance = engine.tolerance
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="asr-encoder")
        self._subsampling = engine.load(folder / SUBSAMPLING)
        self._layers = [
            [engine.load_direction(folder, number, d) for d in range(self._directions)]
            for number in range(int(encoder["layers"]))
        ]
        self._head = engine.load(folder / HEAD)

    def sweeps(self, chunking: Chunking) -> bool:
        """Tell whether recordings longer than a chunk are read layer by layer."""
        return chunking.overlap_seconds is None or self._directions == 1

    def classify(self, features: Sequence[Frames]) -> list[LogProbs]:
        """Turn the features ``(T_i, F)`` of several windows into log-probabilities ``(U_i, V)``."""
        hidden, counts = self._subsampled(features)
        parts = _split(len(hidden), -(-self._threads // self._directions))
        for layer in self._layers:
            outputs = self._each(
                [
                    partial(part, hidden[rows], counts[rows], self._nothing(rows.stop - rows.start))
                    for part in layer
                    for rows in parts
                ]
            )
            for d in range(self._directions):
                units = slice(d * self._units, (d + 1) * self._units)
                for rows, (output, _) in zip(parts, outputs[d * len(parts) :], strict=False):
                    hidden[rows, :, units] += output
        return self._classified(list(zip(hidden, counts.tolist(), strict=True)))

    def encode_long(
        self, recording: Recording, chunking: Chunking, progress: Callable[[float], None]
    ) -> Iterator[LogProbs]:
        """Yield a recording's log-probabilities ``(U_i, V)`` in pieces, as the whole gives them."""
        seconds = min(STRETCH_SECONDS, chunking.length_seconds)
        stretches = list(
            cut_stretches(recording.index, recording.frames, self, Chunking(seconds, 0.0))
        )
        offsets = [0]
        for stretch in stretches:
            offsets.append(offsets[-1] + stretch.last - stretch.first)
        bounds = list(pairwise(offsets))
        groups = [bounds[start : start + STRETCHES] for start in range(0, len(bounds), STRETCHES)]
        share = 1 / (len(groups) * (len(self._layers) * self._directions + 1))
        files = [FrameFile(self._width), *(FrameFile(self._units) for _ in range(self._directions))]
        frames, sides = files[0], files[1:]
        try:
            self._write_subsampled(recording, stretches, bounds, frames)
            progress(share * len(groups))
            for layer in self._layers:
                self._each(
                    [
                        partial(
                            self._sweep,
                            part,
                            d == 1,
                            groups,
                            frames,
                            sides[d],
                            lambda: progress(share),
                        )
                        for d, part in enumerate(layer)
                    ]
                )
                for group in groups:
                    start, stop = group[0][0], group[-1][1]
                    output = [side.read(start, stop) for side in sides]
                    frames.write(start, frames.read(start, stop) + np.concatenate(output, axis=1))
            for group in groups:
                rows = [(frames.read(*bound), bound[1] - bound[0]) for bound in group]
                yield np.concatenate(self._classified(rows))
        finally:
            for file in files:
                file.close()

    def _subsampled(self, features: Sequence[Frames]) -> tuple[Frames, NDArray[np.int64]]:
        """Give padded encoder frames (B, U, D) that may be written to, and their counts (B,)."""
        # Convolutions gain nothing by batches, and their inner frames take the most memory.
        jobs = [
            lambda rows=rows: self._subsampling(rows[None], np.array([len(rows)]))[0][0]
            for rows in features
        ]
        return _padded(self._each(jobs))

    def _classified(self, rows: Sequence[tuple[Frames, int]]) -> list[LogProbs]:
        """Turn encoder frames (U_i, D), so many of each, into log-probabilities (U_i, V)."""
        jobs = [lambda row=row, n=n: self._head(row[None, :n])[0][0] for row, n in rows]
        return self._each(jobs)

    def _write_subsampled(
        self,
        recording: Recording,
        stretches: Sequence[Window],
        bounds: Sequence[tuple[int, int]],
        frames: FrameFile,
    ) -> None:
        features = cut_features(stretches, recording)
        for start in range(0, len(stretches), STRETCHES):
            group = slice(start, start + STRETCHES)
            chosen = stretches[group]
            hidden, _ = self._subsampled([next(features) for _ in chosen])
            for row, stretch, (place, _) in zip(hidden, chosen, bounds[group], strict=True):
                frames.write(place, row[stretch.first : stretch.last])

    def _sweep(
        self,
        part: Part,
        backward: bool,
        groups: Sequence[Sequence[tuple[int, int]]],
        frames: FrameFile,
        side: FrameFile,
        done: Callable[[], None],
    ) -> None:
        """Run a direction of a layer over all frames, into a file of its own."""
        sweep = StretchSweep(part, backward, self._tolerance)
        state: Frames = np.zeros(self._units, np.float32)
        for group in groups[:: -1 if backward else 1]:
            hidden, _ = _padded([frames.read(*bound) for bound in group])
            lengths = [stop - start for start, stop in group]
            output, state = sweep.run(hidden, lengths, state)
            for row, (start, stop) in zip(output, group, strict=True):
                side.write(start, row[: stop - start])
            done()

    def _nothing(self, rows: int) -> Frames:
        return np.zeros((1, rows, self._units), np.float32)

    def _each(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Do all jobs, as many at once as there are threads."""
        if self._threads == 1 or len(jobs) == 1:
            return [job() for job in jobs]
        return [each.result() for each in [self._pool.submit(job) for job in jobs]]


def _split(rows: int, parts: int) -> list[slice]:
    """Cut rows into so many parts of about the same size, fewer where there are fewer rows."""
    edges = [rows * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if stop > start]


def _padded(sequences: Sequence[Frames]) -> tuple[Frames, NDArray[np.int64]]:
    """Put sequences (N_i, F) under each other (B, N, F), zeros behind the shorter ones."""
    lengths = np.array([len(each) for each in sequences], np.int64)
    batch = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]), np.float32)
    for row, each in zip(batch, sequences, strict=True):
        row[: len(each)] = each
    return batch, lengths
