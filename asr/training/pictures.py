"""Pictures for TensorBoard: what the encoder is given, and how it aligns an utterance."""

from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from asr.data import Batch
from asr.tokenizer import BLANK
from asr.training.module import CTCTraining, Validated

Picture = NDArray[np.uint8]

# Pixels of a frame and of a mel band; of an encoder frame and of a token's row.
FRAME, BAND = 2, 3
ROW = 14
LABEL_WIDTH = 80
MASK_COLOUR = (220, 60, 40)


class Pictures(Callback):
    """Draws, after each epoch, a masked spectrogram and the alignment of a validation utterance.

    It is the utterance whose id sorts first among those of the first rank, the same every time.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._chosen: tuple[str, Tensor, list[int]] | None = None

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if self._batch is None and trainer.is_global_zero:
            self._batch = batch

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        self._chosen = None

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, Validated) or not trainer.is_global_zero:
            return
        row = min(range(len(batch.ids)), key=lambda index: batch.ids[index])
        if self._chosen is None or batch.ids[row] < self._chosen[0]:
            frames, letters = int(outputs.lengths[row]), int(batch.token_lengths[row])
            log_probs = outputs.log_probs[row, :frames].float().cpu()
            self._chosen = batch.ids[row], log_probs, batch.tokens[row, :letters].tolist()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        loggers = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
        pictures = self._draw(module) if trainer.is_global_zero and loggers else {}
        for name, picture in pictures.items():
            for logger in loggers:
                logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
        self._batch = None

    def _draw(self, module: CTCTraining) -> dict[str, Picture]:
        pictures = {}
        if self._batch is not None:
            with torch.no_grad():
                plain, lengths = module.model.features(
                    self._batch.waveforms, self._batch.sample_lengths
                )
                views, _ = module.augmented_views(self._batch)
            frames = int(lengths[0])
            shown = [view[:frames].cpu().numpy() for view in views[:: len(plain)]]
            pictures["train/masked_features"] = draw_masked(shown)
        if self._chosen and self._chosen[2]:
            _, log_probs, tokens = self._chosen
            labels = [module.tokenizer.tokens[token] for token in tokens]
            pictures["valid/alignment"] = draw_alignment(occupancy(log_probs, tokens), labels)
        return pictures


def draw_masked(views: list[NDArray[np.float32]]) -> Picture:
    """Draw features in grey, low bands below, and what is masked in red; views under each other.

    Args:
        views: each ``(T, F)``; masks are zeros over a whole band or frame.

    Returns:
        ``(height, width, 3)``.
    """
    drawn = []
    for view in views:
        low, high = np.percentile(view, [2, 98])
        grey = np.clip((view - low) / max(1e-6, high - low), 0, 1)
        colours = np.repeat((255 * grey).astype(np.uint8)[:, :, None], 3, axis=2)
        masked = (view == 0).all(axis=1)[:, None] | (view == 0).all(axis=0)[None, :]
        colours[masked] = MASK_COLOUR
        picture = colours.transpose(1, 0, 2)[::-1].repeat(BAND, axis=0).repeat(FRAME, axis=1)
        drawn += [picture, np.full((BAND, picture.shape[1], 3), 255, np.uint8)]
    return np.concatenate(drawn[:-1])


def occupancy(log_probs: Tensor, tokens: list[int]) -> NDArray[np.float64]:
    """Compute how probable it is that a frame belongs to a token, over all alignments.

    Each token gets a symbol of its own, so that the second L of ALL is told from the first; a blank
    between them is then not required.

    Args:
        log_probs: ``(U, V)``.
        tokens: the transcript, L ids.

    Returns:
        ``(L, U)`` probabilities; all 0 where there is no alignment.

    Source: Graves et al. 2006, equation 15: it is minus the gradient of the CTC loss with respect
    to log-probabilities.
    """
    own = log_probs.double()[:, [BLANK, *tokens]].requires_grad_()
    loss = torch.nn.functional.ctc_loss(
        own[:, None],
        torch.arange(1, 1 + len(tokens))[None],
        torch.tensor([len(own)]),
        torch.tensor([len(tokens)]),
        reduction="sum",
        zero_infinity=True,
    )
    (gradient,) = torch.autograd.grad(loss, own)
    # PyTorch's gradient takes the softmax into account: exp(log_probs) - occupancy.
    shares = own.detach().exp() - gradient if bool(gradient.any()) else torch.zeros_like(own)
    return shares[:, 1:].T.numpy()


def draw_alignment(shares: NDArray[np.float64], labels: list[str]) -> Picture:
    """Draw tokens from top to bottom over time, the darker the more probable.

    Args:
        shares: ``(L, U)`` probabilities.
        labels: the L tokens.

    Returns:
        ``(height, width, 3)``.
    """
    grey = (255 * (1 - np.clip(shares, 0, 1))).astype(np.uint8)
    body = grey.repeat(ROW, axis=0).repeat(2 * FRAME, axis=1)
    picture = Image.new("RGB", (LABEL_WIDTH + body.shape[1], body.shape[0]), "white")
    picture.paste(Image.fromarray(body), (LABEL_WIDTH, 0))
    pen = ImageDraw.Draw(picture)
    for row, label in enumerate(labels):
        # The font that Pillow brings knows no lower block, sentencepiece's mark of a word's start.
        pen.text((2, row * ROW + 1), label.replace("\u2581", "_"), fill="black")
    return np.asarray(picture)
