"""The largest batch that the memory of a GPU holds, found by trying."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from asr.data import Batch
from asr.errors import TrainingError
from asr.training.module import CTCTraining

# Neighbouring trials differ by this share in the end.
PRECISION = 0.03
# Kept free for what differs between batches, fragments, and buffers of other processes.
RESERVE = 0.1
# More audio than this in a step helps no training.
MOST_SECONDS = 36_000.0


def largest_batch(fits: Callable[[float], bool], least: float) -> float:
    """Find how many seconds of audio fit, by doubling and then halving the interval.

    Args:
        fits: tells whether a batch of so many seconds does; if one does, shorter ones do.
        least: seconds of the shortest batch that can be used.

    Returns:
        Seconds that fit and are within 3 % of the most, less a reserve of 10 %, but no less than
        ``least``.

    Raises:
        TrainingError: not even the shortest batch fits.
    """
    if not fits(least):
        raise TrainingError(
            f"data.batch_seconds=auto: not even one utterance of {least:.1f} seconds fits into the "
            "memory of this device; choose a smaller model, model.encoder.checkpoint_frames, or "
            "leave long utterances out with `asr prepare --max-duration`"
        )
    good, bad = least, 2 * least
    while bad < MOST_SECONDS and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, MOST_SECONDS)
    while bad > good * (1 + PRECISION):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return max(least, (1 - RESERVE) * good)


class Trial:
    """Takes a training step on silence of a given length and sees whether memory is enough.

    Args:
        module: on the device.
        longest: seconds of the longest utterance.
        tokens_per_second: tokens of a transcript in a second of speech, at most.
        precision: makes the context of a forward pass, such as autocast.
    """

    def __init__(
        self,
        module: CTCTraining,
        longest: float,
        tokens_per_second: float,
        precision: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.module = module
        self.longest = longest
        self.tokens_per_second = tokens_per_second
        self.precision = precision

    def __call__(self, seconds: float) -> bool:
        """Try a batch of the longest utterances and one of utterances of a tenth of it."""
        return all(self._try(seconds, each) for each in (self.longest, self.longest / 10))

    def _try(self, seconds: float, each: float) -> bool:
        module = self.module
        try:
            # What AdamW will keep of each parameter, besides its gradient.
            moments = [torch.empty(2, p.numel(), device=p.device) for p in module.parameters()]
            with self.precision():
                batch = silence(module, max(1, int(seconds // each)), each, self.tokens_per_second)
                loss: Tensor = module.batch_losses(batch).sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            del moments
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            module.zero_grad(set_to_none=True)
            if module.device.type == "cuda":
                torch.cuda.empty_cache()


def silence(module: CTCTraining, count: int, seconds: float, tokens_per_second: float) -> Batch:
    """Make a batch that takes as much memory as speech does.

    Args:
        module: tells the device and the sample rate.
        count: utterances.
        seconds: of each.
        tokens_per_second: tokens of a transcript in a second.
    """
    rate, device = module.model.sample_rate, module.device
    samples, letters = max(1, int(seconds * rate)), max(1, int(seconds * tokens_per_second))
    tokens = 1 + torch.arange(letters, device=device) % (module.tokenizer.vocabulary_size - 1)
    return Batch(
        ids=tuple(str(number) for number in range(count)),
        texts=("",) * count,
        waveforms=torch.zeros(count, samples, device=device),
        sample_lengths=torch.full((count,), samples, device=device),
        tokens=tokens.repeat(count, 1),
        token_lengths=torch.full((count,), letters, device=device),
        seeds=torch.arange(count),
        weights=torch.ones(count, device=device),
        total=count,
    )
