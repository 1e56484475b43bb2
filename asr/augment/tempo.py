"""Speech made faster or slower with the voice left as it is."""

import numpy as np
import torch
from torch import Tensor, nn

from asr.errors import ConfigError


class TempoPerturbation(nn.Module):
    """Plays features faster or slower; pitch and formants stay where they are.

    Frames are read at evenly spaced places between the old ones and mixed of the two next to each.
    Speed perturbation (Ko et al. 2015) moves pitch, formants and tempo together; with this one
    beside it all pairs of voice and tempo are heard. Its range is that of their tempo perturbation
    of waveforms, there by WSOLA.

    Args:
        slowest: the least factor, below 1 for slower speech.
        fastest: the greatest one; the logarithm of the factor is drawn evenly.

    Raises:
        ConfigError: factors outside [0.5, 2], or in the wrong order.
    """

    def __init__(self, slowest: float, fastest: float) -> None:
        super().__init__()
        if not 0.5 <= slowest <= fastest <= 2:
            raise ConfigError(
                f"augment.tempo is [{slowest}, {fastest}]; expected two factors in [0.5, 2], the "
                "lower one first"
            )
        self.ends = float(np.log(slowest)), float(np.log(fastest))

    def factor(self, seed: int) -> float:
        """Draw the factor of an utterance from its seed."""
        return float(np.exp(np.random.default_rng([seed, 2]).uniform(*self.ends)))

    def forward(self, features: Tensor, lengths: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Change the tempo of a batch.

        Args:
            features: ``(B, T, F)``, padding zero.
            lengths: ``(B,)``, int64, in frames.
            seeds: ``(B,)``, int64, one for each utterance.

        Returns:
            ``(B, T', F)``, padding zero, and the new frame counts ``(B,)``, int64: T / factor,
            rounded, at least 1 where there was one.
        """
        factors = np.array([self.factor(seed) for seed in seeds.tolist()])
        old = lengths.cpu().numpy()
        new = np.maximum(np.minimum(1, old), np.rint(old / factors)).astype(np.int64)
        numbers = np.arange(new.max(initial=0))
        # The middle of each new frame in old frames.
        places = (numbers + 0.5) * (old / np.maximum(1, new))[:, None] - 0.5
        last = np.maximum(0, old - 1)[:, None]
        places = np.clip(places, 0, last)
        below = places.astype(np.int64)
        share = torch.from_numpy(places - below).to(features).unsqueeze(2)
        beyond = torch.from_numpy(numbers >= new[:, None]).to(features.device).unsqueeze(2)
        first, second = (
            features.gather(1, _at(frames, features))
            for frames in (below, np.minimum(below + 1, last))
        )
        mixed = torch.lerp(first, second, share).masked_fill(beyond, 0.0)
        return mixed, torch.from_numpy(new).to(lengths.device)


def _at(frames: np.ndarray, features: Tensor) -> Tensor:
    index = torch.from_numpy(frames).to(features.device)
    return index.unsqueeze(2).expand(-1, -1, features.shape[2])
