"""Tasks beside the tokens of the last layer, for training only: what inner layers have to tell."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from asr.ctc import CTCLoss, ctc_loss
from asr.errors import ConfigError
from asr.padding import pad_sequences
from asr.pronunciation import pronounce


class IntermediateLoss(nn.Module):
    """CTC over the same tokens on the output of inner layers, through the last layer's head.

    Source: intermediate CTC (Lee and Watanabe 2021, arXiv 2102.03216).

    Args:
        layers: numbers of the layers, from 1, whose output is read; null for the middle one.
        weight: share of these losses, averaged over layers, in the whole.
        depth: number of layers of the encoder.

    Raises:
        ConfigError: a layer that the encoder lacks or that is its last, or a weight outside (0, 1).
    """

    def __init__(
        self, depth: int, layers: tuple[int, ...] | None = None, weight: float = 0.3
    ) -> None:
        super().__init__()
        if not 0 < weight < 1:
            raise ConfigError(
                f"auxiliary.intermediate.weight is {weight}; expected a share within (0, 1)"
            )
        layers = (depth // 2,) if layers is None else tuple(layers)
        if not layers or any(not 1 <= layer < depth for layer in layers):
            raise ConfigError(
                f"auxiliary.intermediate.layers is {list(layers)}; the encoder has inner layers 1 "
                f"to {depth - 1}"
            )
        self.layers = layers
        self.weight = weight

    def forward(self, losses: Tensor, inner: Sequence[CTCLoss]) -> Tensor:
        """Mix the last layer's losses with those of the inner layers.

        Args:
            losses: ``(B,)``, the last layer's.
            inner: losses ``(B,)`` of each inner layer.

        Returns:
            ``(B,)``.
        """
        mean = torch.stack([loss.losses for loss in inner]).mean(dim=0)
        return (1 - self.weight) * losses + self.weight * mean


class PhonemeLoss(nn.Module):
    """CTC over phonemes on the output of an inner layer.

    Letters and words of little data share their sounds: B, D and E end alike, and so do SIX and
    SIXTEEN begin. Told so, the lower layers need fewer examples of each. The head is thrown away
    after training. Source: intermediate CTC losses (Lee and Watanabe 2021) with the phonemes of
    hierarchical multitask training (Krishna et al. 2018).

    Args:
        texts: transcripts, which tell all words there are.
        width: size of a layer's output, D.
        layer: number of the layer, from 1, whose output is read.
        weight: share of this loss in the whole; the tokens' has the rest.
        voice: accent of espeak-ng, which knows the pronunciations.

    Raises:
        ConfigError: a weight outside of (0, 1), or no word has a pronunciation.
        AudioError: there is no such voice.
    """

    def __init__(
        self,
        texts: Iterable[str],
        width: int,
        layer: int = 2,
        weight: float = 0.4,
        voice: str = "en-us",
    ) -> None:
        super().__init__()
        if not 0 < weight < 1:
            raise ConfigError(
                f"auxiliary.phonemes.weight is {weight}; expected a share within (0, 1)"
            )
        said = pronounce({word for text in texts for word in text.split()}, voice)
        phonemes = sorted({phoneme for word in said.values() for phoneme in word})
        if not phonemes:
            raise ConfigError(
                f"auxiliary.phonemes.voice is '{voice}', which can say none of the words"
            )
        # 0 is the blank.
        numbers = {phoneme: number for number, phoneme in enumerate(phonemes, start=1)}
        self.said = {word: [numbers[phoneme] for phoneme in said[word]] for word in said}
        self.layer = layer
        self.weight = weight
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1 + len(phonemes))

    def forward(self, frames: Tensor, lengths: Tensor, texts: Sequence[str]) -> CTCLoss:
        """Compute the loss of each utterance.

        Args:
            frames: output of the layer ``(B, U, D)``.
            lengths: ``(B,)``, int64, in frames.
            texts: the B transcripts.

        Returns:
            The losses, 0 for an utterance of fewer frames than its phonemes need, and which those
            utterances are.
        """
        said = [[number for word in text.split() for number in self.said[word]] for text in texts]
        targets, target_lengths = pad_sequences([torch.tensor(s, dtype=torch.int64) for s in said])
        log_probs = torch.log_softmax(self.head(self.norm(frames)).float(), dim=-1)
        device = frames.device
        return ctc_loss(log_probs, lengths, targets.to(device), target_lengths.to(device))
