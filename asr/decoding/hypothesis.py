"""A hypothesis: the tokens that a decoder believes were said."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """What a decoder made of one utterance.

    Attributes:
        tokens: token ids without blanks and without CTC's repetitions.
        frames: the encoder frame in which each token first stands.
        log_prob: natural logarithm of the probability of the alignment (greedy) or of the text
            (beam), summed over frames.
        scorer_score: what language models and phrases add, already weighted; 0 without any.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    log_prob: float
    scorer_score: float = 0.0

    @property
    def score(self) -> float:
        """What hypotheses are ranked by."""
        return self.log_prob + self.scorer_score
