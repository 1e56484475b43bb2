"""From a manifest to padded batches."""

from asr.data.batch import Batch, Example, collate
from asr.data.dataset import SpeechDataset
from asr.data.sampler import BatchSampler, Draw
from asr.data.transcripts import TokenizedTranscripts

__all__ = [
    "Batch",
    "BatchSampler",
    "Draw",
    "Example",
    "SpeechDataset",
    "TokenizedTranscripts",
    "collate",
]
