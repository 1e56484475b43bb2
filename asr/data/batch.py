"""A batch of utterances: padded waveforms and tokens with their integer lengths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from asr.padding import pad_sequences


@dataclass(frozen=True)
class Example:
    """One utterance, ready for training.

    Attributes:
        id: the utterance's id.
        text: its transcript.
        waveform: ``(S,)`` float32.
        tokens: ``(L,)`` int64.
        seed: decides every random draw for this utterance.
        weight: 1, or 0 where it only fills the place of a rank that would have nothing to do.
        total: utterances in the batch over all ranks.
    """

    id: str
    text: str
    waveform: Tensor
    tokens: Tensor
    seed: int
    weight: float
    total: int


@dataclass(frozen=True)
class Batch:
    """Utterances of one training step on one device.

    Attributes:
        ids: the B utterances' ids.
        texts: their transcripts.
        waveforms: ``(B, S)`` float32, zeros behind each end.
        sample_lengths: ``(B,)`` int64, in samples.
        tokens: ``(B, L)`` int64, zeros behind each end.
        token_lengths: ``(B,)`` int64.
        seeds: ``(B,)`` int64, on the CPU.
        weights: ``(B,)`` float32, see ``Example.weight``.
        total: utterances of this step over all ranks.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    waveforms: Tensor
    sample_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    seeds: Tensor
    weights: Tensor
    total: int

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Copy the tensors to a device; the seeds stay on the CPU, where they are drawn from."""
        return replace(
            self,
            **{
                name: getattr(self, name).to(device, non_blocking=non_blocking)
                for name in ("waveforms", "sample_lengths", "tokens", "token_lengths", "weights")
            },
        )

    def pin_memory(self) -> "Batch":
        """Copy the tensors to page-locked memory, from which a GPU reads faster."""
        return replace(
            self,
            **{
                name: getattr(self, name).pin_memory()
                for name in ("waveforms", "sample_lengths", "tokens", "token_lengths", "weights")
            },
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Pad utterances into a batch.

    Args:
        examples: at least one utterance.
    """
    waveforms, sample_lengths = _pad_waveforms([example.waveform for example in examples])
    tokens, token_lengths = pad_sequences([example.tokens for example in examples])
    return Batch(
        ids=tuple(example.id for example in examples),
        texts=tuple(example.text for example in examples),
        waveforms=waveforms,
        sample_lengths=sample_lengths,
        tokens=tokens,
        token_lengths=token_lengths,
        seeds=torch.tensor([example.seed for example in examples], dtype=torch.int64),
        weights=torch.tensor([example.weight for example in examples]),
        total=examples[0].total,
    )


def _pad_waveforms(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad waveforms; a reading process does it where the training process can see them.

    It would copy a batch there otherwise, and keep the memory of several batches.
    """
    longest = max(len(waveform) for waveform in waveforms)
    if get_worker_info() is None or not longest:
        return pad_sequences(waveforms)
    lengths = torch.tensor([len(waveform) for waveform in waveforms], dtype=torch.int64)
    size = len(waveforms) * longest * torch.float32.itemsize
    # As PyTorch's own default_collate does it.
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]  # torch
    batch = torch.empty(0, dtype=torch.float32)
    batch.set_(storage, 0, (len(waveforms), longest), (longest, 1))
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
        row[len(waveform) :] = 0
    return batch, lengths
