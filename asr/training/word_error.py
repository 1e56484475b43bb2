"""Expected word errors of what a model may say, lowered by sampling: for fine-tuning."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.padding import mask_padding
from asr.scoring import count_errors
from asr.tokenizer import BLANK, Tokenizer


class WordErrorLoss(nn.Module):
    """Word errors of an utterance, expected over all alignments of tokens with frames.

    Likelihood rewards a transcript for becoming surer; this counts the errors of what is said
    instead. A few alignments are drawn, and each is made more or less likely by how many errors it
    has less or more than the mean. That is only of use to a model that recognises most words.

    Source: policy learning for CTC (Zhou et al. 2018, arXiv 1712.07101), with the mean of the
    samples as baseline as in minimum word error rate training (Prabhavalkar et al. 2018,
    arXiv 1712.01818).

    Args:
        tokenizer: turns tokens into words.
        samples: alignments drawn for each utterance, 2 or more.
        weight: share of the errors in the whole; the other losses have the rest.

    Raises:
        ConfigError: fewer samples, or a weight outside (0, 1).
    """

    def __init__(self, tokenizer: Tokenizer, samples: int = 8, weight: float = 0.5) -> None:
        super().__init__()
        where = "auxiliary.word_error"
        if samples < 2:
            raise ConfigError(f"{where}.samples is {samples}; expected 2 or more")
        if not 0 < weight < 1:
            raise ConfigError(f"{where}.weight is {weight}; expected a share within (0, 1)")
        self.tokenizer = tokenizer
        self.samples = samples
        self.weight = weight

    def forward(self, log_probs: Tensor, lengths: Tensor, texts: Sequence[str]) -> Tensor:
        """Estimate the expected errors of each utterance and their gradient.

        Args:
            log_probs: ``(B, U, V)``, natural log-probabilities.
            lengths: ``(B,)``, int64, in frames.
            texts: the B transcripts.

        Returns:
            ``(B,)`` float32, as ``expected_errors`` has it.
        """
        with torch.autocast(log_probs.device.type, enabled=False):
            own = log_probs.float()
            alignments = draw_alignments(own, self.samples)
            errors = count_word_errors(alignments, lengths, texts, self.tokenizer)
            return expected_errors(own, lengths, alignments, errors.to(own.device))


def draw_alignments(log_probs: Tensor, samples: int) -> Tensor:
    """Draw a token for each frame, as often as it is likely.

    Args:
        log_probs: ``(B, U, V)``, natural log-probabilities.
        samples: number N of alignments.

    Returns:
        ``(B, U, N)``, int64.
    """
    # Whoever trains tells of numbers that are none; drawing from them would end the process.
    frames = log_probs.detach().exp().nan_to_num(nan=1.0).flatten(end_dim=1)
    drawn = torch.multinomial(frames, samples, replacement=True)
    return drawn.view(*log_probs.shape[:2], samples)


def count_word_errors(
    alignments: Tensor, lengths: Tensor, texts: Sequence[str], tokenizer: Tokenizer
) -> Tensor:
    """Count the word errors of what alignments say.

    Args:
        alignments: ``(B, U, N)``, int64, the blank among the tokens.
        lengths: ``(B,)``, int64, in frames.
        texts: the B transcripts.
        tokenizer: turns tokens into words.

    Returns:
        ``(B, N)`` float32 on the CPU.
    """
    paths = alignments.transpose(1, 2).cpu().numpy()
    starts = paths != BLANK
    starts[..., 1:] &= paths[..., 1:] != paths[..., :-1]
    errors = np.zeros(paths.shape[:2], dtype=np.float32)
    for row, (text, length) in enumerate(zip(texts, lengths.tolist(), strict=True)):
        reference = text.split()
        # A model that is nearly sure says the same again and again.
        known: dict[tuple[int, ...], int] = {}
        for sample, (path, start) in enumerate(zip(paths[row], starts[row], strict=True)):
            tokens = tuple(path[:length][start[:length]].tolist())
            if tokens not in known:
                known[tokens] = count_errors(reference, tokenizer.decode(tokens).split()).errors
            errors[row, sample] = known[tokens]
    return torch.from_numpy(errors)


def expected_errors(
    log_probs: Tensor, lengths: Tensor, alignments: Tensor, errors: Tensor
) -> Tensor:
    """Give the mean errors of samples, with a gradient that is right on average.

    Args:
        log_probs: ``(B, U, V)``, natural log-probabilities.
        lengths: ``(B,)``, int64, in frames.
        alignments: ``(B, U, N)``, int64, drawn from them independently of each other.
        errors: ``(B, N)``, those of each alignment.

    Returns:
        ``(B,)``: the mean over samples, whose gradient by ``log_probs`` is an unbiased estimate of
        that of the expected errors over all alignments.

    Source: Williams 1992 (REINFORCE); the baseline of a sample is the mean of the others (Kool et
    al. 2019, Buy 4 REINFORCE samples, get a baseline for free).
    """
    count = errors.shape[1]
    mean = errors.mean(dim=1, keepdim=True)
    # Less the mean of the others is less the mean of all, times N / (N - 1).
    excess = (errors - mean) * (count / (count - 1))
    chosen = mask_padding(log_probs.gather(2, alignments), lengths).sum(dim=1)
    pull = (excess * chosen).mean(dim=1)
    return mean.squeeze(1) + pull - pull.detach()
