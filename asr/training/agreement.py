"""Processes that train together have to see the same data, vocabulary and checkpoint."""

import hashlib
import socket
from collections.abc import Sequence
from typing import Any, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from asr.errors import TrainingError
from asr.manifest import Utterance
from asr.tokenizer import Tokenizer
from asr.training.data import data_of
from asr.training.run import RunFolder

T = TypeVar("T")


class Agreement(Callback):
    """Compares what the ranks were given, before the first step.

    On several machines a manifest that differs, or a run folder that only one of them sees, would
    otherwise train on in silence, each rank on batches of its own.

    Args:
        run: the run's folder.
        tokenizer: this rank's.

    Raises:
        TrainingError: a rank has something else than the first one; names both machines.
    """

    def __init__(self, run: RunFolder, tokenizer: Tokenizer) -> None:
        self.run = run
        self.tokenizer = tokenizer

    def setup(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str
    ) -> None:
        if trainer.world_size == 1:
            return
        data = data_of(trainer)
        checkpoint = self.run.last_checkpoint
        facts = {
            "data.train": _digest(data.train_set.utterances),
            "data.valid": _digest(data.valid_set.utterances),
            "tokenizer": hashlib.sha256(repr(self.tokenizer.tokens).encode()).hexdigest(),
            str(checkpoint): str(checkpoint.exists() and checkpoint.stat().st_size),
            "version of torch": torch.__version__.split("+")[0],
        }
        check_alike(gathered((socket.gethostname(), facts)))


def check_alike(ranks: Sequence[tuple[str, dict[str, str]]]) -> None:
    """Refuse ranks that differ.

    Args:
        ranks: machine and facts of each rank.

    Raises:
        TrainingError: names the first rank that differs, its machine and the fact.
    """
    first_host, first = ranks[0]
    for rank, (host, facts) in enumerate(ranks):
        for name, value in facts.items():
            if value != first[name]:
                raise TrainingError(
                    f"rank {rank} on {host} sees another {name} than rank 0 on {first_host}; all "
                    "machines need the same manifests and packages, and an output_dir on a file "
                    "system that they share"
                )


def gathered(value: T) -> list[T]:
    """Give the values of all ranks in their order; of this one alone where there is no other.

    Args:
        value: this rank's; it is pickled.
    """
    if not torch.distributed.is_initialized():
        return [value]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def _digest(utterances: Sequence[Utterance]) -> str:
    digest = hashlib.sha256()
    for utterance in utterances:
        # Machines may keep the audio in different places.
        digest.update(repr((utterance.id, utterance.duration, utterance.text)).encode())
    return digest.hexdigest()
