"""`data.batch_seconds=auto`: batches of what the GPUs' memory holds."""

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from asr.errors import ConfigError
from asr.training.batch_size import Trial, largest_batch
from asr.training.data import SpeechData, data_of
from asr.training.module import CTCTraining


class AutoBatch(Callback):
    """Measures, before training begins, how many seconds of audio fit, if that is asked for.

    The device with the least memory decides. A run that goes on keeps the batches it began with.

    Args:
        fresh: whether the run begins; otherwise its checkpoint tells the seconds.

    Raises:
        ConfigError: training is not on a GPU.
        TrainingError: not even one utterance fits.
    """

    def __init__(self, fresh: bool) -> None:
        self.fresh = fresh

    def setup(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str
    ) -> None:
        assert isinstance(module, CTCTraining)
        data = data_of(trainer)
        if not data.automatic or not self.fresh:
            return
        device = trainer.strategy.root_device
        if device.type != "cuda":
            raise ConfigError(
                f"data.batch_seconds=auto needs a GPU, whose memory sets the limit; this is "
                f"{device.type}: give seconds, such as data.batch_seconds=120"
            )
        module.to(device)
        with torch.random.fork_rng(devices=[device]):
            trial = make_trial(module, data, trainer)
            found = largest_batch(trial, trial.longest)
        share = torch.tensor(found, dtype=torch.float64, device=device)
        if trainer.world_size > 1:
            torch.distributed.all_reduce(share, op=torch.distributed.ReduceOp.MIN)
        ranks = data.dealt_to or trainer.world_size
        # Whole seconds are easier to read and to give by hand the next time.
        data.make_batches(max(trial.longest, float(int(share))) * ranks)
        data.setup(stage)


def make_trial(module: CTCTraining, data: SpeechData, trainer: lightning.Trainer) -> Trial:
    """Make the trial whose sizes are those of the data.

    Args:
        module: on the device.
        data: tells the longest utterance and the most tokens a second.
        trainer: tells the precision.
    """
    train = data.train_set
    rates = train.transcripts.counts / np.maximum(0.1, train.utterances.durations)
    return Trial(
        module, data.longest_seconds(), float(rates.max()), trainer.precision_plugin.forward_context
    )
