"""What all augmentation of waveforms has in common: how often, from which seed, of which length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from asr.errors import ConfigError
from asr.resampling import Samples


class SoundAugmentation(ABC):
    """Changes some waveforms and leaves their length, and so the times of their words.

    Args:
        probability: of the change, for each utterance in each epoch.
    """

    # Names the options in messages.
    where: str
    # Sets the draws of one augmentation apart from those of another with the same seed; 1 is taken
    # by `FrequencyWarp`.
    stream: int

    def __init__(self, probability: float) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"{self.where}.probability is {probability}; expected within [0, 1]")
        self.probability = probability

    def __call__(self, waveform: Samples, seed: int, index: int) -> Samples:
        """Change a waveform or not, as its seed has it.

        Args:
            waveform: ``(S,)`` float32.
            seed: the utterance's seed.
            index: the utterance's position in the manifest.

        Returns:
            ``(S,)`` float32; the waveform itself where nothing changes.
        """
        generator = np.random.default_rng([seed, self.stream])
        if generator.random() >= self.probability or not len(waveform):
            return waveform
        return self.change(waveform, generator, index)

    @abstractmethod
    def change(self, waveform: Samples, generator: np.random.Generator, index: int) -> Samples:
        """Change a waveform; arguments and result as those of a call."""


def check_range(values: Sequence[float], least: float, most: float, where: str) -> None:
    """Refuse a range that is no range, or reaches too far.

    Args:
        values: from, to.
        least: the smallest that ``from`` may be.
        most: the largest that ``to`` may be.
        where: the option's place in the config.

    Raises:
        ConfigError: names the option and what is expected.
    """
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise ConfigError(
            f"{where} is {list(values)}; expected [from, to] within [{least:g}, {most:g}]"
        )
