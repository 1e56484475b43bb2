"""The Lightning data module: manifests as batches that survive a restart."""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from asr.augment import SoundAugmentation, SpeedPerturbation, UtteranceJoining
from asr.data import Batch, BatchSampler, SpeechDataset, TokenizedTranscripts
from asr.data.sampler import ValidationSampler
from asr.errors import AsrError, ConfigError
from asr.manifest import Utterance
from asr.tokenizer import Tokenizer
from asr.training.preemption import ignore_first_sigterm


class SpeechData(lightning.LightningDataModule):
    """Training and validation batches.

    Args:
        train: training utterances.
        valid: validation utterances, of other speakers; none to train without validation.
        tokenizer: encodes the transcripts.
        sample_rate: samples a second that the model wants.
        speed: perturbs the speed of training utterances, if given.
        batch_seconds: seconds of audio in a step, over all devices, padding counted; ``"auto"`` for
            as many as fit into the memory of the GPUs.
        workers: processes that read audio; 0 reads in the training process.
        seed: of shuffling and augmentation.
        transcripts: of the training utterances, where they are encoded already.
        sound: changes the waveforms of training utterances, in this order.
        join: joins training utterances, if given.
        sorted_epochs: in so many first epochs batches come in order of length, the shortest first;
            None: in none.

    Raises:
        TokenizerError: a transcript has a character that the tokenizer lacks.
        ConfigError: a batch shorter than the longest utterance, another word than "auto", or fewer
            than no workers or sorted epochs.
    """

    def __init__(
        self,
        train: Sequence[Utterance],
        valid: Sequence[Utterance],
        tokenizer: Tokenizer,
        sample_rate: int,
        speed: SpeedPerturbation | None = None,
        batch_seconds: float | str = 120.0,
        workers: int = 2,
        seed: int = 0,
        transcripts: TokenizedTranscripts | None = None,
        sound: Sequence[SoundAugmentation] = (),
        join: UtteranceJoining | None = None,
        sorted_epochs: int | None = None,
    ) -> None:
        super().__init__()
        if workers < 0:
            raise ConfigError(f"data.workers is {workers}; expected 0 or more")
        if sorted_epochs is not None and sorted_epochs < 0:
            raise ConfigError(f"data.sorted_epochs is {sorted_epochs}; expected 0 or more")
        self.train_set = SpeechDataset(train, tokenizer, sample_rate, speed, transcripts, sound)
        self.valid_set = SpeechDataset(valid, tokenizer, sample_rate)
        self.workers = workers
        if isinstance(batch_seconds, str) and batch_seconds != "auto":
            raise ConfigError(f"data.batch_seconds is '{batch_seconds}'; expected seconds or auto")
        self.seed = seed
        self.join = join
        self.sorted_epochs = sorted_epochs or 0
        self.automatic = batch_seconds == "auto"
        # Until memory is measured, the shortest batch there can be stands for it.
        self.make_batches(
            self.longest_seconds() if isinstance(batch_seconds, str) else batch_seconds
        )
        # How many devices share a batch; None: as many as train together.
        self.dealt_to: int | None = None
        self._position = {"epoch": 0, "batches": 0}

    def make_batches(self, seconds: float) -> None:
        """Form batches of so many seconds over all devices."""
        train, valid = self.train_set, self.valid_set
        self.sampler = BatchSampler(
            train.utterances,
            seconds,
            seed=self.seed,
            speed=train.speed,
            join=self.join,
            sorted_epochs=self.sorted_epochs,
        )
        self.valid_sampler: ValidationSampler | None = None
        if len(valid):
            self.valid_sampler = ValidationSampler(valid.utterances, seconds, shuffle=False)

    def longest_seconds(self) -> float:
        """Give the seconds of the longest utterance there can be, joined and slowed down."""
        train, valid = (each.utterances.durations for each in (self.train_set, self.valid_set))
        longest = max(train.max(initial=0.0), self.join.longest_seconds if self.join else 0.0)
        speed = self.train_set.speed
        slowest = min(speed.factors) if speed else 1.0
        return float(max(longest / slowest, valid.max(initial=0.0)))

    def setup(self, stage: str) -> None:
        """Take this process's part of the batches."""
        assert self.trainer is not None
        for sampler in filter(None, (self.sampler, self.valid_sampler)):
            sampler.rank = self.trainer.global_rank
            sampler.world_size = self.dealt_to or self.trainer.world_size

    def batch_count(self, epoch: int) -> int:
        """Count the batches of an epoch on each rank."""
        return len(self.sampler.batches(epoch))

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train_set, self.sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        assert self.valid_sampler is not None  # Without one the trainer does not ask.
        return self._loader(self.valid_set, self.valid_sampler)

    def _loader(self, dataset: SpeechDataset, sampler: BatchSampler) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=ignore_first_sigterm,
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
        return {**self._position, "batch_seconds": self.sampler.batch_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind a checkpoint's position, with its batches."""
        state_dict = dict(state_dict)
        seconds = state_dict.pop("batch_seconds", self.sampler.batch_seconds)
        if seconds != self.sampler.batch_seconds:
            self.make_batches(seconds)
            self.setup("fit")
        self._position = state_dict
        self.sampler.resume(state_dict["epoch"], state_dict["batches"])


def data_of(trainer: lightning.Trainer) -> SpeechData:
    """Give the data module that a trainer was started with."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it.
    assert isinstance(data, SpeechData)
    return data


def _as_it_is(batch: Any) -> Any:
    # The dataset forms whole batches.
    return batch
