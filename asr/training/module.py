"""The Lightning module: it receives a built model and only trains it."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from asr.augment import SpecAugment
from asr.ctc import CTCLoss, ctc_loss, guided_ctc_loss
from asr.data import Batch
from asr.decoding.decoder import GreedyDecoder
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.decoding.rivals import settling
from asr.errors import ConfigError, TrainingError
from asr.model import CTCModel
from asr.tokenizer import Tokenizer
from asr.training.auxiliary import IntermediateLoss, PhonemeLoss
from asr.training.consistency import Consistency
from asr.training.data import data_of
from asr.training.distillation import Distillation
from asr.training.guide import Guidance, TimingGuide
from asr.training.optimizer import clip_apart, follow, make_adamw
from asr.training.schedule import Schedule
from asr.training.tasks import NO_TASKS, Tasks
from asr.training.validation import ValidationTally

REDUCTIONS = ("utterance", "token")


@dataclass(frozen=True)
class Validated:
    """What a validation step found.

    Attributes:
        log_probs: ``(B, U, V)``.
        lengths: ``(B,)``, int64, in encoder frames.
    """

    log_probs: Tensor
    lengths: Tensor


class CTCTraining(lightning.LightningModule):
    """Trains a CTC model and scores it on the validation set after every epoch.

    Args:
        model: what is trained.
        tokenizer: decodes hypotheses for scoring.
        augment: change training features in this order, each called with features, lengths and
            seeds, such as ``FrequencyWarp`` and ``SpecAugment``.
        tasks: what is learned beside the tokens.
        decoder: of the model, and as far as it is about rivals of the validation set, which is
            decoded greedily.
        seed: with epoch, batch and rank it decides dropout, so a restart repeats it.
        lr: the highest learning rate of AdamW (Loshchilov and Hutter 2019).
        weight_decay: of matrices; biases and norms are not decayed.
        betas: AdamW's two decay rates.
        warmup_steps: optimizer steps to reach ``lr``.
        final_ratio: share of ``lr`` left at the end of the cosine.
        average_decay: validate and export an exponential moving average of the weights, of which
            each step keeps this share (Polyak and Juditsky 1992); 0 for the weights themselves.
        reduction: ``"utterance"`` averages losses over utterances, ``"token"`` first divides each
            by its number of tokens.
    """

    # The tasks, each a submodule of its own name.
    phonemes: PhonemeLoss | None
    intermediate: IntermediateLoss | None
    consistency: Consistency | None
    guide: TimingGuide | None
    distillation: Distillation | None

    def __init__(
        self,
        model: CTCModel,
        tokenizer: Tokenizer,
        augment: Sequence[nn.Module] = (),
        tasks: Tasks = NO_TASKS,
        decoder: DecoderOptions = DEFAULT_OPTIONS,
        seed: int = 0,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.98),
        warmup_steps: int = 200,
        final_ratio: float = 0.01,
        average_decay: float = 0.0,
        reduction: str = "utterance",
    ) -> None:
        super().__init__()
        if not 0 <= average_decay < 1:
            raise ConfigError(
                f"optimizer.average_decay is {average_decay}; expected a share in [0, 1)"
            )
        if reduction not in REDUCTIONS:
            raise ConfigError(f"optimizer.reduction is '{reduction}'; expected utterance or token")
        self.model = model
        self.tokenizer = tokenizer
        self.augment = nn.ModuleList(augment)
        for name, task in vars(tasks).items():
            self.register_module(name, task)
        for masks in augment:
            if self.consistency and isinstance(masks, SpecAugment):
                self.consistency.strengthen(masks)
        self.average_decay = average_decay
        self.average = deepcopy(model).requires_grad_(False) if average_decay else None
        self.seed = seed
        self.schedule = Schedule(lr, warmup_steps, final_ratio)
        self.weight_decay = weight_decay
        self.betas = betas
        self.reduction = reduction
        self.infeasible: set[str] = set()
        self.without_phonemes: set[str] = set()
        self.decoder = decoder if self.guide is None else self.guide.timed(decoder)
        self.tally = self._new_tally()
        self.step_loss = float("nan")  # Mean over the utterances of all ranks.
        self._epoch_loss = (0.0, 0)

    @property
    def result(self) -> CTCModel:
        """What training is for: the averaged model, or the model where there is no average."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW with weight decay on matrices only."""
        return make_adamw(self, self.schedule.lr, self.betas, self.weight_decay)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the guide's gradients apart: the encoder's large ones would drown them."""
        clip_apart(self, self.guide, gradient_clip_val, gradient_clip_algorithm)

    def on_train_epoch_start(self) -> None:
        self.infeasible.clear()
        self.without_phonemes.clear()
        self._epoch_loss = (0.0, 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep an epoch's sums so far; they are the same on all ranks."""
        checkpoint["epoch_loss"] = self._epoch_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with an epoch's sums."""
        self._epoch_loss = checkpoint.get("epoch_loss", (0.0, 0))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        data = data_of(self.trainer)
        assert self.trainer.max_epochs
        done = self.current_epoch + batch_idx / data.batch_count(self.current_epoch)
        lr = self.schedule.at(self.global_step, done / self.trainer.max_epochs)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        self.log("lr", lr)
        place = (self.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(hash(place) & 0x7FFFFFFF)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch, averaged over the utterances of all ranks.

        Raises:
            TrainingError: the loss is not finite; names the utterances.
        """
        losses = self.batch_losses(batch)
        if self.reduction == "token":
            losses = losses / batch.token_lengths.clamp_min(1)
        # Distributed training averages gradients over ranks, each of which has its own share of
        # the utterances; this factor makes the average that of the whole batch.
        loss: Tensor = (losses * batch.weights).sum() * (self.trainer.world_size / batch.total)
        self.step_loss = self._mean_over_ranks(loss)
        if not math.isfinite(self.step_loss):
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {self.current_epoch}, batch {batch_idx}, on "
                f"utterances {', '.join(batch.ids)}; lower optimizer.lr or look at their audio"
            )
        total, count = self._epoch_loss
        self._epoch_loss = (total + self.step_loss * batch.total, count + batch.total)
        self.log("train/loss", self.step_loss, batch_size=batch.total)
        return loss

    def _mean_over_ranks(self, loss: Tensor) -> float:
        mean = loss.detach().clone()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(mean)
        return mean.item() / self.trainer.world_size

    def batch_losses(self, batch: Batch) -> Tensor:
        """Compute the loss of each utterance of a batch, ``(B,)``, all tasks together."""
        features, lengths = self.model.features(batch.waveforms, batch.sample_lengths)
        views = self._views(features, lengths, batch)
        taught = self.distillation.teach(features, lengths) if self.distillation else None
        if self.guide is None:
            return self.losses(*views, batch, taught=taught)
        guidance: Guidance = self.guide(features, lengths, batch.tokens, batch.token_lengths)
        return self.losses(*views, batch, guidance.offsets, taught) + guidance.losses

    def augmented_views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute what the encoder is given in training.

        Args:
            batch: B utterances.

        Returns:
            Augmented features ``(N * B, T, F)``, first those of all first views, and frame counts
            ``(N * B,)``; N is 2 with a consistency loss, otherwise 1.
        """
        features, lengths = self.model.features(batch.waveforms, batch.sample_lengths)
        return self._views(features, lengths, batch)

    def _views(self, features: Tensor, lengths: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        views = []
        for view in range(2 if self.consistency else 1):
            augmented = features
            for augment in self.augment:
                # The lowest bit makes another seed of it, from which all draws are other ones.
                augmented = augment(augmented, lengths, batch.seeds ^ view)
            views.append(augmented)
        return torch.cat(views), lengths.repeat(len(views))

    def losses(
        self,
        features: Tensor,
        lengths: Tensor,
        batch: Batch,
        offsets: Tensor | None = None,
        taught: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of each utterance, all tasks of the encoder together.

        Args:
            features: ``(N * B, T, F)``, as ``augmented_views`` returns them.
            lengths: ``(N * B,)``, int64, in frames.
            batch: the B utterances.
            offsets: ``(B, U, V)``, as a guide gives them.
            taught: ``(B, U, V)``, as ``distillation`` has it from the teachers.

        Returns:
            ``(B,)``, the mean over an utterance's N views.
        """
        views = len(features) // len(batch.ids)
        tokens = batch.tokens.repeat(views, 1), batch.token_lengths.repeat(views)
        layers = {self.phonemes.layer} if self.phonemes else set()
        layers |= set(self.intermediate.layers) if self.intermediate else set()
        log_probs, inner, lengths = self.model.with_inner_frames(features, lengths, layers)
        if offsets is None:
            result = ctc_loss(log_probs, lengths, *tokens)
        else:
            offsets = offsets.repeat(views, 1, 1)
            result, _ = guided_ctc_loss(log_probs, lengths, *tokens, offsets)
        self._note_infeasible(batch, result, self.infeasible)
        losses = result.losses
        if self.intermediate:
            told = [self.model.inner_log_probs(inner[n]) for n in self.intermediate.layers]
            losses = self.intermediate(losses, [ctc_loss(p, lengths, *tokens) for p in told])
        if self.phonemes:
            texts = batch.texts * views
            second: CTCLoss = self.phonemes(inner[self.phonemes.layer], lengths, texts)
            self._note_infeasible(batch, second, self.without_phonemes)
            losses = _mix(losses, second.losses, self.phonemes.weight)
        if self.distillation:
            assert taught is not None
            apart = self.distillation(log_probs, lengths, taught.repeat(views, 1, 1))
            # What has no alignment teaches nothing; it is named instead.
            apart = torch.where(result.feasible, apart, 0.0)
            losses = _mix(losses, apart, self.distillation.weight)
        if self.consistency:
            apart = self.consistency(log_probs, lengths)
            losses = losses + self.consistency.scale * torch.where(result.feasible, apart, 0.0)
        return losses.view(views, -1).mean(dim=0)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take a step and move the average after it."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.average is not None:
            follow(self.average, self.model, self.average_decay, self.global_step)

    def _note_infeasible(self, batch: Batch, result: CTCLoss, names: set[str]) -> None:
        if not bool(result.feasible.all()):
            views = len(result.feasible) // len(batch.ids)
            for identity, feasible in zip(batch.ids * views, result.feasible.tolist(), strict=True):
                if not feasible:
                    names.add(identity)

    def on_validation_epoch_start(self) -> None:
        self.tally = self._new_tally()

    def _new_tally(self) -> ValidationTally:
        decoder = settling(GreedyDecoder(), self.decoder.rivals_below)
        return ValidationTally(self.tokenizer, decoder)

    def validation_step(  # type: ignore[override]  # Callbacks get what it returns.
        self, batch: Batch, batch_idx: int
    ) -> Validated | None:
        """Decode a batch greedily and count its errors."""
        if not bool(batch.weights.any()):
            # It only keeps an otherwise idle rank in step.
            return None
        log_probs, lengths = self.result(batch.waveforms, batch.sample_lengths)
        self.tally.add(batch, log_probs, lengths)
        return Validated(log_probs, lengths)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole set."""
        self.log_dict(self.tally.metrics(self._sum_over_ranks), rank_zero_only=False)

    def _sum_over_ranks(self, totals: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return totals
        totals = totals.to(self.device, torch.float32 if self.device.type == "mps" else None)
        return self.trainer.strategy.reduce(totals, reduce_op="sum").cpu()

    def state_summary(self) -> Mapping[str, Any]:
        """Give the figures of the last epoch as plain numbers."""
        metrics = self.trainer.callback_metrics
        names = {
            "valid_loss": "val/loss",
            "valid_wer": "val/wer",
            "valid_cer": "val/cer",
            "lr": "lr",
        }
        found = {name: float(metrics[key]) for name, key in names.items() if key in metrics}
        return {"loss": self._epoch_loss[0] / max(1, self._epoch_loss[1]), **found}


def _mix(losses: Tensor, others: Tensor, share: float) -> Tensor:
    return (1 - share) * losses + share * others
