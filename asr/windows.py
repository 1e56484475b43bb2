"""Long recordings are encoded in overlapping windows whose frames join to those of the whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.model import CTCModel

# Recordings up to this length are encoded whole; longer ones in windows of this length, of which
# the context at either end only informs the frames between.
WINDOW_SECONDS = 40.0
CONTEXT_SECONDS = 5.0


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that is encoded at once.

    Attributes:
        recording: which recording.
        start: its first feature frame.
        stop: one behind its last feature frame.
        first: the first of its encoder frames that is kept.
        last: one behind the last that is kept.
    """

    recording: int
    start: int
    stop: int
    first: int
    last: int

    @property
    def frames(self) -> int:
        """Feature frames in it."""
        return self.stop - self.start


def cut_windows(recording: int, frames: int, model: CTCModel) -> Iterator[Window]:
    """Cut a recording into windows whose kept frames follow each other without gap or overlap.

    Windows start at whole encoder frames, so that their frames fall where the whole's would.

    Args:
        recording: its number.
        frames: its feature frames T.
        model: tells how long a frame is.

    Yields:
        The windows in order.
    """
    factor = model.encoder.subsampling_factor
    frame_seconds = model.samples_per_frame / model.sample_rate
    size = int(WINDOW_SECONDS / frame_seconds)
    context = int(CONTEXT_SECONDS / frame_seconds)
    total = -(-frames // factor)
    start = kept = 0
    while kept < total:
        stop = min(start + size, total)
        last = total if stop == total else stop - context
        end = min(stop * factor, frames)
        yield Window(recording, start * factor, end, kept - start, last - start)
        kept = last
        start = kept - context


@torch.inference_mode()
def encode(
    model: CTCModel, recordings: Sequence[Tensor], batch_seconds: float = WINDOW_SECONDS
) -> list[Tensor]:
    """Compute log-probabilities of recordings of any length.

    Args:
        model: in evaluation mode.
        recordings: normalised features ``(T, F)`` of each, on the model's device.
        batch_seconds: seconds of audio that are encoded together, at least one window.

    Returns:
        ``(U, V)`` float32 on the CPU for each recording.
    """
    windows = [
        window
        for index, features in enumerate(recordings)
        for window in cut_windows(index, len(features), model)
    ]
    windows.sort(key=lambda window: window.frames, reverse=True)
    most = batch_seconds * model.sample_rate / model.features.hop
    pieces: dict[Window, Tensor] = {}
    for batch in _batches(windows, most):
        rows = [recordings[window.recording][window.start : window.stop] for window in batch]
        features = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=features.device)
        log_probs, _ = model.classify(features, lengths)
        for window, row in zip(batch, log_probs.cpu(), strict=True):
            # A copy: a slice would keep the padded batch in memory.
            pieces[window] = row[window.first : window.last].clone()
    joined: list[list[Tensor]] = [[torch.empty(0, model.head.out_features)] for _ in recordings]
    for window in sorted(pieces, key=lambda window: (window.recording, window.start)):
        joined[window.recording].append(pieces[window])
    return [torch.cat(parts) for parts in joined]


def _batches(windows: Sequence[Window], most_frames: float) -> Iterator[list[Window]]:
    # Windows come longest first, so the first of a batch is what the others are padded to.
    batch: list[Window] = []
    for window in windows:
        if batch and batch[0].frames * (len(batch) + 1) > most_frames:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
