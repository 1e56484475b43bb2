"""What a beam search leaves out: unlikely tokens of a frame, unlikely hypotheses, sure blanks."""

import math
from dataclasses import dataclass

from asr.errors import UsageError


@dataclass(frozen=True)
class Pruning:
    """How narrow a beam search is; the same rules hold for every implementation.

    In each frame a token is possible if it is not ``token_threshold`` below the frame's likeliest
    one; the blank is always possible. A frame whose blank is more probable than
    ``blank_threshold`` holds nothing but the blank: of a run of them the first one ends open
    repetitions, and the others change nothing.

    Attributes:
        beam_size: hypotheses that are kept after each frame.
        token_threshold: difference of natural logarithms.
        beam_threshold: hypotheses that score this much less than the best are dropped, natural
            logarithm.
        blank_threshold: probability; 1 leaves no frame out.

    Raises:
        UsageError: a value that leaves nothing.
    """

    beam_size: int = 16
    token_threshold: float = 8.0
    beam_threshold: float = 16.0
    blank_threshold: float = 0.999

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise UsageError(f"the beam size is {self.beam_size}; expected 1 or more")
        for name in ("token_threshold", "beam_threshold"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; expected a logarithm's difference above 0"
                )
        if not 0.5 <= self.blank_threshold <= 1:
            raise UsageError(
                f"blank_threshold is {self.blank_threshold}; expected a probability, 0.5 to 1"
            )


DEFAULT_PRUNING = Pruning()
NO_PRUNING = Pruning(
    beam_size=1_000_000, token_threshold=math.inf, beam_threshold=math.inf, blank_threshold=1.0
)
