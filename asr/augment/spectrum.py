"""Augmentation of features: warped frequencies, other loudness of bands, and masks."""

import numpy as np
import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.padding import length_mask

# Waves over the bands of which an equalizer's curve consists; the first is constant.
_WAVES = 4
# Sets its draws apart from those of other augmentations with the same seed.
_EQUALIZER_STREAM = 8


class FrequencyWarp(nn.Module):
    """Stretches or squeezes the spectrum as a shorter or longer vocal tract would.

    The energy at frequency f comes from a · f, with ln a drawn evenly from ±``widest`` for each
    utterance (Jaitly and Hinton 2013, there on the filters, here between the finished bands). What
    the voice says and how fast it says it stay; speed perturbation changes all three together.

    Args:
        centres: the middle of each band in hertz, ``(F,)``, rising.
        widest: the largest ``|ln a|``; 0.1 moves formants by up to a tenth.
    """

    def __init__(self, centres: Tensor, widest: float) -> None:
        super().__init__()
        if not 0 < widest <= 0.5:
            raise ConfigError(f"augment.warp is {widest}; expected above 0 and at most 0.5")
        self.centres = centres.double().cpu().numpy()
        self.widest = widest

    def forward(self, features: Tensor, lengths: Tensor, seeds: Tensor) -> Tensor:
        """Warp a batch.

        Args:
            features: ``(B, T, F)``.
            lengths: ``(B,)``, int64, in frames; not looked at, padding stays zero.
            seeds: ``(B,)``, int64, one for each utterance.

        Returns:
            ``(B, T, F)``, a new tensor.
        """
        mixes = np.stack([self._mix(seed) for seed in seeds.tolist()])
        return torch.bmm(features, torch.from_numpy(mixes).to(features))

    def _mix(self, seed: int) -> np.ndarray:
        # (F, F): column f holds the shares of the two bands between which a · f lies.
        bands = len(self.centres)
        factor = np.exp(np.random.default_rng([seed, 1]).uniform(-self.widest, self.widest))
        place = np.interp(factor * self.centres, self.centres, np.arange(bands))
        below = np.minimum(place.astype(np.int64), max(0, bands - 2))
        mix = np.zeros((bands, bands))
        columns = np.arange(bands)
        mix[below, columns] += 1 - (place - below)
        mix[np.minimum(below + 1, bands - 1), columns] += place - below
        return mix


class Equalizer(nn.Module):
    """Makes bands louder or softer for a whole utterance, as another microphone or distance would.

    The curve is a sum of half waves over the bands, the k-th of them 1 / (k + 1) as large, so that
    most of it is loudness and tilt. It also stands for what the mean of a short utterance is off by
    where features are normalised by it. Source: the linear form of FilterAugment (Nam et al. 2022,
    arXiv 2110.03282), with normal in place of even distributions.

    Args:
        deviation_db: standard deviation of a band's change, in decibels.
        unit_db: decibels that make 1 in the features.
    """

    def __init__(self, deviation_db: float, unit_db: float) -> None:
        super().__init__()
        if not 0 < deviation_db <= 20:
            raise ConfigError(
                f"augment.equalizer is {deviation_db}; expected decibels above 0 and at most 20"
            )
        self.deviation = deviation_db / unit_db

    def forward(self, features: Tensor, lengths: Tensor, seeds: Tensor) -> Tensor:
        """Change a batch.

        Args:
            features: ``(B, T, F)``, zero behind each utterance's end.
            lengths: ``(B,)``, int64, in frames.
            seeds: ``(B,)``, int64, one for each utterance.

        Returns:
            ``(B, T, F)``, a new tensor, with the same padding.
        """
        curves = np.stack([self._curve(seed, features.shape[2]) for seed in seeds.tolist()])
        inside = length_mask(lengths, features.shape[1]).unsqueeze(2)
        return features + torch.from_numpy(curves).to(features).unsqueeze(1) * inside

    def _curve(self, seed: int, bands: int) -> np.ndarray:
        # (F,): cosines of k half waves, whose mean squares are 1 for k = 0 and 1/2 for the others.
        order = np.arange(_WAVES)
        sizes = 1 / (1 + order)
        sizes *= self.deviation / np.sqrt(np.sum(sizes**2 * np.where(order, 0.5, 1.0)))
        drawn = sizes * np.random.default_rng([seed, _EQUALIZER_STREAM]).standard_normal(_WAVES)
        place = (np.arange(bands) + 0.5) / bands
        curve: np.ndarray = drawn @ np.cos(np.pi * np.outer(order, place))
        return curve


class SpecAugment(nn.Module):
    """Masks bands and stretches of time with zeros, the mean (Park et al. 2019, 2020).

    Args:
        frequency_masks: masks over frequency for each utterance.
        frequency_width: the largest width of one in bands, F in the paper.
        time_masks: masks over time for each utterance.
        time_width: the largest width of one in frames, T in the paper.
        time_ratio: and never more than this share of the utterance, p in the paper.
    """

    def __init__(
        self,
        frequency_masks: int = 2,
        frequency_width: int = 27,
        time_masks: int = 2,
        time_width: int = 40,
        time_ratio: float = 0.1,
    ) -> None:
        super().__init__()
        if min(frequency_masks, frequency_width, time_masks, time_width) < 0:
            raise ConfigError("augment.specaugment: counts and widths of masks must be 0 or more")
        if not 0 <= time_ratio <= 1:
            raise ConfigError(
                f"augment.specaugment.time_ratio is {time_ratio}; expected a share in [0, 1]"
            )
        self.frequency_masks = frequency_masks
        self.frequency_width = frequency_width
        self.time_masks = time_masks
        self.time_width = time_width
        self.time_ratio = time_ratio

    def forward(self, features: Tensor, lengths: Tensor, seeds: Tensor) -> Tensor:
        """Mask a batch.

        Args:
            features: ``(B, T, F)``, normalised, so that 0 is the mean.
            lengths: ``(B,)``, int64, in frames.
            seeds: ``(B,)``, int64, one for each utterance.

        Returns:
            ``(B, T, F)``, a new tensor.
        """
        frames, bands = features.shape[1:]
        drawn = [
            self._draw(int(seed), int(length), bands)
            for seed, length in zip(seeds.tolist(), lengths.tolist(), strict=True)
        ]
        frequency = torch.tensor([masks[0] for masks in drawn], device=features.device)
        time = torch.tensor([masks[1] for masks in drawn], device=features.device)
        masked = _covered(time, frames).unsqueeze(2) | _covered(frequency, bands).unsqueeze(1)
        return features.masked_fill(masked, 0.0)

    def _draw(self, seed: int, length: int, bands: int) -> tuple[list[list[int]], list[list[int]]]:
        generator = np.random.default_rng(seed)
        frequency = [
            _span(generator, self.frequency_width, bands) for _ in range(self.frequency_masks)
        ]
        widest = min(self.time_width, int(self.time_ratio * length))
        time = [_span(generator, widest, length) for _ in range(self.time_masks)]
        return frequency, time


def _span(generator: np.random.Generator, widest: int, size: int) -> list[int]:
    width = int(generator.integers(0, min(widest, size) + 1))
    start = int(generator.integers(0, size - width + 1))
    return [start, start + width]


def _covered(spans: Tensor, size: int) -> Tensor:
    # spans (B, masks, 2) -> (B, size): inside any of the spans.
    if spans.dim() < 3:
        return torch.zeros(len(spans), size, dtype=torch.bool, device=spans.device)
    positions = torch.arange(size, device=spans.device)
    inside = (positions >= spans[..., :1]) & (positions < spans[..., 1:])
    return inside.any(dim=1)
