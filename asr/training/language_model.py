"""Trains a GRU language model with Lightning, from text to a folder."""

import json
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from asr.errors import ConfigError, TextError, TrainingError
from asr.files import atomic_write
from asr.lm.corpus import read_sentences
from asr.lm.gru import GRULanguageModel, Items, TokenItems, WordItems, build_gru, save_gru
from asr.schema import build
from asr.tokenizer import Tokenizer
from asr.training.interruption import interruptible
from asr.training.run import RunFolder
from asr.training.schedule import Schedule
from asr.training.sentences import PADDING, Sentences


@dataclass(frozen=True)
class GRUOptions:
    """How a GRU language model is trained.

    Attributes:
        embedding_size: see ``GRULanguageModel``.
        hidden_size: see ``GRULanguageModel``.
        num_layers: see ``GRULanguageModel``.
        dropout: see ``GRULanguageModel``.
        max_words: words of the vocabulary at most, the most frequent ones; for models of words.
        epochs: passes over the text.
        batch_items: words or tokens of a batch, padding included.
        lr: the highest learning rate of AdamW.
        weight_decay: of matrices.
        clip: gradients are scaled down to this norm.
        seed: decides weights, order and dropout.
        accelerator: Lightning's name of the device.
    """

    embedding_size: int = 256
    hidden_size: int = 512
    num_layers: int = 2
    dropout: float = 0.2
    max_words: int = 50_000
    epochs: int = 10
    batch_items: int = 2_000
    lr: float = 2e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    seed: int = 0
    accelerator: str = "auto"


@dataclass(frozen=True)
class GRUResult:
    """How a training ended.

    Attributes:
        folder: the model with the lowest validation perplexity.
        perplexity: of a word or token of the validation text.
        epoch: the epoch it comes from, from 1.
        resumed: whether the training had been begun before.
    """

    folder: Path
    perplexity: float
    epoch: int
    resumed: bool


def train_gru(
    texts: Sequence[Path | str],
    valid: Sequence[Path | str],
    output: Path | str,
    options: GRUOptions,
    tokenizer: Tokenizer | None = None,
) -> GRUResult:
    """Train a GRU language model, or go on where an earlier call with the same options stopped.

    Args:
        texts: plain text, ``.gz`` or manifests, a sentence a line.
        valid: other text, that decides which epoch's model is kept.
        output: the run's folder; the model becomes ``output/model``.
        options: sizes and schedule.
        tokenizer: its tokens are predicted; None: words are.

    Raises:
        TextError: no text, or text that is broken.
        TokenizerError: a character that the tokenizer lacks.
        ConfigError: an option is impossible.
        TrainingError: the folder belongs to another run, or the loss became NaN.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*LeafSpec.*", ".*`__len__` could be.*"):
        warnings.filterwarnings("ignore", message=message)
    run = RunFolder(Path(output).absolute())
    config = {
        **asdict(options),
        "unit": "token" if tokenizer else "word",
        "texts": [str(Path(text).absolute()) for text in texts],
        "valid": [str(Path(text).absolute()) for text in valid],
    }
    resumed = run.check(config)
    items = TokenItems(tokenizer) if tokenizer else _frequent_words(texts, options.max_words)
    data = [_encode(paths, items) for paths in (texts, valid)]
    lightning.seed_everything(options.seed, verbose=False)
    names = ("embedding_size", "hidden_size", "num_layers", "dropout")
    sizes = {name: getattr(options, name) for name in names}
    model = build_gru(sizes, items)
    module = LanguageModelTraining(model, data[0], data[1], options)

    def export(notes: Mapping[str, Any]) -> None:
        save_gru(run.model, model, items, sizes, notes)

    keeper = _Keeper(run, export)
    trainer = _trainer(options, keeper)
    if not resumed:
        run.begin(config)
    start = str(run.last_checkpoint) if run.last_checkpoint.exists() else None
    with run.locked() if trainer.is_global_zero else nullcontext():
        _announce(run, start, model, items, data)
        with interruptible(trainer):
            trainer.fit(module, ckpt_path=start, weights_only=False)
    return GRUResult(run.model, keeper.best, keeper.best_epoch, resumed)


class LanguageModelTraining(lightning.LightningModule):
    """Trains a GRU language model and measures its perplexity after every epoch.

    Args:
        model: what is trained.
        train_set: sentences to learn from.
        valid_set: sentences to measure on.
        options: schedule and seed.
    """

    def __init__(
        self,
        model: GRULanguageModel,
        train_set: Sentences,
        valid_set: Sentences,
        options: GRUOptions,
    ) -> None:
        super().__init__()
        self.model = model
        self.train_set = train_set
        self.valid_set = valid_set
        self.options = options
        self.steps = len(self._order(0))
        self.schedule = Schedule(options.lr, min(200, self.steps), 0.02)
        self.totals = {"train": [0.0, 0], "valid": [0.0, 0]}

    def _order(self, epoch: int) -> list[Any]:
        return self.train_set.batches(self.options.batch_items, (self.options.seed, epoch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW."""
        return torch.optim.AdamW(
            self.parameters(), lr=self.schedule.lr, weight_decay=self.options.weight_decay
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Give the batches of the epoch that begins."""
        order = self._order(self.current_epoch)
        return DataLoader(_Batches(self.train_set, order), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        """Give the validation batches."""
        order = self.valid_set.batches(self.options.batch_items, None)
        return DataLoader(_Batches(self.valid_set, order), batch_size=None)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        progress = (self.current_epoch + batch_idx / self.steps) / self.options.epochs
        lr = self.schedule.at(self.global_step, progress)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        # Dropout is decided by the place in training, so that a restart repeats it.
        torch.manual_seed(hash((self.options.seed, self.current_epoch, batch_idx)) & 0x7FFFFFFF)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the mean negative log-probability of a batch's items.

        Raises:
            TrainingError: it is not finite.
        """
        loss = self._loss("train", batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {self.current_epoch}; lower --lr"
            )
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Sum up the log-probabilities of a validation batch."""
        self._loss("valid", batch)

    def _loss(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        log_probs, _ = self.model(inputs)
        loss = nn.functional.nll_loss(
            log_probs.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"
        )
        count = int((targets != PADDING).sum())
        total = self.totals[part]
        total[0] += float(loss.detach())
        total[1] += count
        return loss / count

    def take_perplexity(self, part: str) -> float:
        """Give the perplexity since the last call."""
        loss, count = self.totals[part]
        self.totals[part] = [0.0, 0]
        return math.exp(min(700.0, loss / max(1, count)))


class _Batches(IterableDataset[Any]):
    def __init__(self, sentences: Sentences, order: Sequence[Any]) -> None:
        self.sentences = sentences
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.sentences.batch(rows) for rows in self.order)


class _Keeper(lightning.Callback):
    # Shows progress, keeps the last state and the best model.

    def __init__(self, run: RunFolder, export: Any) -> None:
        self.run = run
        self.export = export
        self.best = math.inf
        self.best_epoch = 0
        self.records: list[dict[str, Any]] = []
        self._bar: tqdm[Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "records": self.records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._bar = tqdm(total=trainer.num_training_batches, desc=name, unit="batch", leave=False)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        epoch = trainer.current_epoch + 1
        found = {name: module.take_perplexity(name) for name in ("train", "valid")}
        self.records.append({"epoch": epoch, **{f"{k}_perplexity": v for k, v in found.items()}})
        if found["valid"] < self.best:
            self.best, self.best_epoch = found["valid"], epoch
            self.export(self.records[-1])
        print(
            f"epoch {epoch:3}  perplexity {found['train']:8.2f}  dev {found['valid']:8.2f}",
            flush=True,
        )
        with atomic_write(self.run.history) as stream:
            stream.writelines(json.dumps(line) + "\n" for line in self.records)
        beside = self.run.path / ".last.ckpt.part"
        trainer.save_checkpoint(beside)
        beside.replace(self.run.last_checkpoint)


def _trainer(options: GRUOptions, keeper: _Keeper) -> lightning.Trainer:
    for name in ("epochs", "batch_items"):
        if getattr(options, name) < 1:
            raise ConfigError(f"{name} is {getattr(options, name)}; expected 1 or more")
    settings = {
        "max_epochs": options.epochs,
        "accelerator": options.accelerator,
        "gradient_clip_val": options.clip,
    }
    return build(
        lightning.Trainer,
        settings,
        "trainer",
        devices=1,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # Each epoch has an order of its own.
        reload_dataloaders_every_n_epochs=1,
    )


def _frequent_words(texts: Sequence[Path | str], most: int) -> WordItems:
    counts = Counter(word for sentence in read_sentences(texts) for word in sentence.split())
    return WordItems([word for word, _ in counts.most_common(most)])


def _encode(paths: Sequence[Path | str], items: Items) -> Sentences:
    encoded = [items.encode(sentence)[0] for sentence in read_sentences(paths)]
    if not encoded:
        raise TextError(f"no word in {', '.join(map(str, paths))}; expected a sentence a line")
    return Sentences(encoded)


def _announce(
    run: RunFolder, start: str | None, model: nn.Module, items: Items, data: Sequence[Sentences]
) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{'going on' if start else 'training'} in {run.path}\n"
        f"{parameters / 1e6:.2f} M parameters, {len(items)} {items.unit}s, "
        f"{data[0].items:,} to predict in {len(data[0]):,} sentences, "
        f"{data[1].items:,} in {len(data[1]):,} to validate on",
        flush=True,
    )
