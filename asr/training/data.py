"""The Lightning data module: manifests as batches that survive a restart."""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from asr.augment import SpeedPerturbation
from asr.data import Batch, BatchSampler, SpeechDataset
from asr.data.sampler import ValidationSampler
from asr.errors import AsrError, ConfigError
from asr.manifest import Utterance
from asr.tokenizer import Tokenizer


class SpeechData(lightning.LightningDataModule):
    """Training and validation batches.

    Args:
        train: training utterances.
        valid: validation utterances, of other speakers.
        tokenizer: encodes the transcripts.
        sample_rate: samples a second that the model wants.
        speed: perturbs the speed of training utterances, if given.
        batch_seconds: seconds of audio in a step, over all devices, padding counted.
        workers: processes that read audio; 0 reads in the training process.
        seed: of shuffling and augmentation.

    Raises:
        TokenizerError: a transcript has a character that the tokenizer lacks.
        ConfigError: a batch shorter than the longest utterance, or fewer than no workers.
    """

    def __init__(
        self,
        train: Sequence[Utterance],
        valid: Sequence[Utterance],
        tokenizer: Tokenizer,
        sample_rate: int,
        speed: SpeedPerturbation | None = None,
        batch_seconds: float = 120.0,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if workers < 0:
            raise ConfigError(f"data.workers is {workers}; expected 0 or more")
        self.train_set = SpeechDataset(train, tokenizer, sample_rate, speed)
        self.valid_set = SpeechDataset(valid, tokenizer, sample_rate)
        self.workers = workers
        self.sampler = BatchSampler(train, batch_seconds, seed=seed, speed=speed)
        self.valid_sampler = ValidationSampler(valid, batch_seconds, shuffle=False)
        self._position = {"epoch": 0, "batches": 0}

    def setup(self, stage: str) -> None:
        """Take this process's part of the batches."""
        assert self.trainer is not None
        for sampler in (self.sampler, self.valid_sampler):
            sampler.rank = self.trainer.global_rank
            sampler.world_size = self.trainer.world_size

    def batch_count(self, epoch: int) -> int:
        """Count the batches of an epoch on each rank."""
        return len(self.sampler.batches(epoch))

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train_set, self.sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.valid_set, self.valid_sampler)

    def _loader(self, dataset: SpeechDataset, sampler: BatchSampler) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(self, batch: Batch | AsrError, dataloader_idx: int) -> Batch:
        """Raise what went wrong while the batch was read."""
        if isinstance(batch, AsrError):
            raise batch
        return batch

    def note_position(self, epoch: int, batches: int) -> None:
        """Remember how many batches of an epoch are done; it goes into the next checkpoint."""
        self._position = {"epoch": epoch, "batches": batches}

    def state_dict(self) -> dict[str, Any]:
        """Give the position for a checkpoint."""
        return dict(self._position)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind a checkpoint's position."""
        self._position = dict(state_dict)
        self.sampler.resume(state_dict["epoch"], state_dict["batches"])


def data_of(trainer: lightning.Trainer) -> SpeechData:
    """Give the data module that a trainer was started with."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it.
    assert isinstance(data, SpeechData)
    return data


def _as_it_is(batch: Any) -> Any:
    # The dataset forms whole batches.
    return batch
