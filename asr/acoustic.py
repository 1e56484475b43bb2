"""A model of torch as what encodes recordings: windows in, log-probabilities as arrays out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from asr.cutting import cut_features
from asr.encoding import Encoding, ListSource, LogProbs
from asr.errors import UsageError
from asr.features import LogMel, RunningNormalization
from asr.layerwise import encode_layerwise
from asr.model import CTCModel
from asr.padding import pad_sequences
from asr.recordings import Recording
from asr.resampling import Samples
from asr.windows import Chunking, cut_stretches

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchFeatures:
    """Computes features on a device.

    Args:
        features: the model's.
        device: where to compute.
    """

    def __init__(self, features: LogMel, device: torch.device) -> None:
        self._features = features
        self._device = device
        self.sample_rate = features.sample_rate
        self.hop = features.hop

    def stream(self, blocks: Iterable[Samples]) -> Iterator[Tensor]:
        """Turn consecutive stretches ``(S_i,)`` of a waveform into log-mel frames ``(T_i, F)``."""
        tensors = (torch.from_numpy(block).to(self._device) for block in blocks)
        found = self._features.stream_log_mel(tensors)
        while True:
            # The mode belongs to the thread: whoever takes the frames must not be left in it.
            with torch.inference_mode():
                log_mel = next(found, None)
            if log_mel is None:
                return
            yield log_mel

    def normalization(self) -> RunningNormalization:
        """Begin the normalisation of a recording."""
        floor = self._features.floor
        return RunningNormalization(
            self._features.normalize, None if floor is None else floor.cpu().numpy()
        )

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Put stretches ``(T_i, F)`` behind each other; none of them make ``(0, F)``."""
        nothing = torch.empty(0, self._features.n_mels, device=self._device)
        return torch.cat([nothing, *parts])


class TorchAcoustic:
    """A model of torch, in evaluation mode.

    Args:
        model: the model, on its device.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``: of the matrix products.

    Raises:
        UsageError: there is no such precision.
    """

    def __init__(self, model: CTCModel, precision: str = "fp32") -> None:
        self._model = model
        self._dtype = PRECISIONS[check_precision(precision)]
        self._device = next(model.parameters()).device
        self.features = TorchFeatures(model.features, self._device)
        self.sample_rate = model.sample_rate
        self.samples_per_frame = model.samples_per_frame
        self.subsampling_factor = model.subsampling_factor
        self.vocabulary_size = model.head.out_features
        encoder = model.encoder
        self.carrier = self if encoder.carries_states and not encoder.bidirectional else None

    def sweeps(self, chunking: Chunking) -> bool:
        """Tell whether recordings longer than a chunk are read layer by layer."""
        encoder = self._model.encoder
        both_ways = encoder.bidirectional and encoder.carries_states
        return both_ways and chunking.overlap_seconds is None

    def classify(self, features: Sequence[Tensor]) -> list[LogProbs]:
        """Turn the features ``(T_i, F)`` of several windows into log-probabilities ``(U_i, V)``.

        Raises:
            MemoryError: they are too many at once.
        """
        with self._computing():
            rows, counts = self._model.classify(*self._batch(features))
        return _rows(rows, counts)

    def start(self) -> Tensor:
        """Give the state before the first window, ``(layers, 1, D)``."""
        encoder = self._model.encoder
        return torch.zeros(len(encoder.layers), 1, encoder.width, device=self._device)

    def classify_next(
        self, features: Sequence[Tensor], kept: Sequence[slice], states: Sequence[Tensor]
    ) -> tuple[list[LogProbs], list[Tensor]]:
        """Do as ``classify`` from given states, keep the frames asked for, give the states after.

        Raises:
            MemoryError: they are too many at once.
        """
        with self._computing():
            rows, counts, after = self._model.classify_next(
                *self._batch(features), kept, torch.cat(list(states), dim=1)
            )
        # A copy: a slice would keep the states of the whole batch in memory.
        return _rows(rows, counts), [state.clone() for state in torch.split(after, 1, dim=1)]

    def encode_long(
        self, recording: Recording, chunking: Chunking, progress: Callable[[float], None]
    ) -> Iterator[LogProbs]:
        """Yield the log-probabilities of a recording whose states are carried on both ways."""
        stretches = list(cut_stretches(recording.index, recording.frames, self, chunking))
        features = cut_features(stretches, recording)
        for rows in encode_layerwise(self._model, stretches, features, progress, self._dtype):
            yield rows.numpy()

    def _batch(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        batch, lengths = pad_sequences(features)
        return batch, lengths.to(batch.device)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        autocast = torch.autocast(
            self._device.type, dtype=self._dtype, enabled=self._dtype is not None
        )
        try:
            with torch.inference_mode(), autocast:
                yield
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error


def _rows(rows: Tensor, counts: Tensor) -> list[LogProbs]:
    # A copy: a slice would keep the padded batch in memory.
    found = rows.cpu().numpy()
    return [row[:count].copy() for row, count in zip(found, counts.tolist(), strict=True)]


def encode(
    model: CTCModel,
    features: Sequence[Tensor],
    batch_seconds: float = 120.0,
    chunking: Chunking | None = None,
) -> list[Tensor]:
    """Compute log-probabilities of recordings whose features are there.

    Args:
        model: in evaluation mode.
        features: normalised features ``(T, F)`` of each, on the model's device.
        batch_seconds: as for ``Encoding``.
        chunking: as for ``Encoding``.

    Returns:
        ``(U, V)`` float32 on the CPU for each recording.
    """
    recordings = [
        Recording(index, "", frames=len(rows), features=rows) for index, rows in enumerate(features)
    ]
    found: list[list[Tensor]] = [[torch.empty(0, model.head.out_features)] for _ in recordings]
    acoustic = TorchAcoustic(model)
    for part in Encoding(
        acoustic, ListSource(recordings), chunking=chunking, batch_seconds=batch_seconds
    ):
        found[part.recording.index].append(torch.from_numpy(part.log_probs))
    return [torch.cat(parts) for parts in found]


def check_precision(name: str) -> str:
    """Return a precision's name.

    Raises:
        UsageError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise UsageError(f"no precision '{name}'; expected {', '.join(PRECISIONS)}")
    return name
