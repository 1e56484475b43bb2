"""The options of a decoder: what a model folder keeps under ``decoder:``."""

from dataclasses import dataclass

from asr.decoding.pruning import DEFAULT_PRUNING, Pruning
from asr.decoding.words import REACH_SECONDS, WordCalibration
from asr.errors import ConfigError

# Natural logarithm for each letter of a phrase.
HOTWORD_WEIGHT = 0.2
KINDS = ("greedy", "beam")


@dataclass(frozen=True)
class DecoderOptions:
    """How a model's log-probabilities become words, as far as it does not depend on files.

    Attributes:
        kind: what decodes where neither a language model nor phrases are given: ``"greedy"`` or
            ``"beam"``.
        rivals_below: of every decoder, see ``settle_rivals``; 0 leaves log-probabilities alone.
        beam_size: see ``Pruning``.
        token_threshold: see ``Pruning``.
        beam_threshold: see ``Pruning``.
        blank_threshold: see ``Pruning``.
        lm_weight: multiplies the language model's natural logarithms.
        insertion_bonus: is added for each word, a natural logarithm; it counts with a language
            model only.
        rescoring_weight: multiplies the natural logarithms of a second language model, which
            ranks the hypotheses that the search has found.
        hotword_weight: what each letter of a phrase adds that has no weight of its own.
        word_offset_seconds: see ``WordCalibration``.
        word_reach_seconds: see ``WordCalibration``.
        temperature: see ``WordCalibration``.

    Raises:
        ConfigError: an unknown kind, or a number that means nothing.
        UsageError: a number that leaves nothing to search.
    """

    kind: str = "greedy"
    rivals_below: float = 0.0
    beam_size: int = DEFAULT_PRUNING.beam_size
    token_threshold: float = DEFAULT_PRUNING.token_threshold
    beam_threshold: float = DEFAULT_PRUNING.beam_threshold
    blank_threshold: float = DEFAULT_PRUNING.blank_threshold
    # Two models of AN4, one good and one poor: the lowest of those that harm neither on one half of
    # the held-out speakers; see recipes/an4/RESULTS.md for the other half. `asr tune` finds better.
    lm_weight: float = 0.3
    insertion_bonus: float = 1.5
    rescoring_weight: float = 0.3
    hotword_weight: float = HOTWORD_WEIGHT
    word_offset_seconds: float = 0.0
    word_reach_seconds: float = REACH_SECONDS
    # What was fitted on AN4; `asr tune` fits it for a model.
    temperature: float = 3.3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"decoder.kind is '{self.kind}'; expected {' or '.join(KINDS)}")
        if not 0 <= self.rivals_below <= 2:
            raise ConfigError(
                f"decoder.rivals_below is {self.rivals_below}; expected a sum of two "
                "probabilities, 0 to 2"
            )
        if not self.temperature > 0:
            raise ConfigError(f"decoder.temperature is {self.temperature}; expected more than 0")
        if not self.word_reach_seconds >= 0:
            raise ConfigError(
                f"decoder.word_reach_seconds is {self.word_reach_seconds}; expected 0 or more"
            )
        _ = self.pruning

    @property
    def pruning(self) -> Pruning:
        """How narrow a beam search is."""
        return Pruning(
            self.beam_size, self.token_threshold, self.beam_threshold, self.blank_threshold
        )

    @property
    def calibration(self) -> WordCalibration:
        """What was fitted for the times and confidences of words."""
        return WordCalibration(self.word_offset_seconds, self.temperature, self.word_reach_seconds)


DEFAULT_OPTIONS = DecoderOptions()
