"""Speed perturbation: faster or slower, pitch and all."""

import numpy as np
import soxr

from asr.errors import ConfigError


class SpeedPerturbation:
    """Plays an utterance faster or slower, pitch and all (Ko et al. 2015).

    Args:
        factors: the speeds to draw from, equally likely; 1.1 makes it a tenth faster.
    """

    def __init__(self, factors: tuple[float, ...] = (0.9, 1.0, 1.1)) -> None:
        numbers = all(isinstance(factor, (int, float)) for factor in factors)
        if not factors or not numbers or any(not 0.5 <= factor <= 2 for factor in factors):
            raise ConfigError(f"augment.speed is {factors}; expected speeds in [0.5, 2]")
        self.factors = tuple(factors)

    def factor(self, seed: int) -> float:
        """Draw the speed of an utterance from its seed."""
        return self.factors[seed % len(self.factors)]

    def __call__(self, waveform: np.ndarray, seed: int) -> np.ndarray:
        """Change the speed of a waveform.

        Args:
            waveform: ``(S,)`` float32.
            seed: the utterance's seed.

        Returns:
            ``(about S / factor,)`` float32, at the same sample rate.
        """
        factor = self.factor(seed)
        if factor == 1.0:
            return waveform
        # To play at 1.1 times the speed, claim a rate 1.1 times as high and resample to the true
        # one. The rates only matter as a ratio; 1000 keeps two decimals of the factor exact.
        return np.asarray(soxr.resample(waveform, round(1000 * factor), 1000, quality="MQ"))
