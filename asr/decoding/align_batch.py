"""Forced alignment of a batch in torch, for GPUs: the same results as ``asr.decoding.align``."""

import torch
from torch import Tensor

from asr.decoding.align import Alignment, token_frames
from asr.tokenizer import BLANK


@torch.no_grad()
def align_batch(
    log_probs: Tensor, frame_lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> list[Alignment | None]:
    """Align a batch: states are blank, first token, blank, second token, and so on, blank.

    Args:
        log_probs: ``(B, U, V)``, natural logarithms, on any device.
        frame_lengths: ``(B,)``, int64, in encoder frames.
        tokens: ``(B, L)``, int64, none of them the blank within a transcript.
        token_lengths: ``(B,)``, int64.

    Returns:
        For each utterance what ``asr.decoding.align.align`` gives.

    Source:
        Graves et al. 2006, section 4.1, with the maximum in place of the sum.
    """
    device = log_probs.device
    frame_lengths, tokens, token_lengths = (
        each.to(device) for each in (frame_lengths, tokens, token_lengths)
    )
    batch, frames, _ = log_probs.shape
    labels = torch.full((batch, 2 * tokens.shape[1] + 1), BLANK, device=device)
    labels[:, 1::2] = tokens
    best, steps = _walk(log_probs, frame_lengths, labels)
    # The path ends in the last blank or in the last token.
    last = (2 * token_lengths).unsqueeze(1)
    before = (last - 1).clamp(min=0)
    ends_in_token = (best.gather(1, before) > best.gather(1, last)) & (last > 0)
    state = torch.where(ends_in_token, before, last)
    found = best.gather(1, state).squeeze(1)
    states = torch.full((batch, frames), -1, device=device)
    for frame in range(frames - 1, -1, -1):
        inside = frame < frame_lengths
        states[inside, frame] = state[inside, 0]
        back = steps[frame].gather(1, state).long()
        state = torch.where(inside.unsqueeze(1), state - back, state)
    paths = torch.where(states < 0, -1, labels.gather(1, states.clamp(min=0))).tolist()
    alignments: list[Alignment | None] = []
    for row, (log_prob, length, count) in enumerate(
        zip(found.tolist(), frame_lengths.tolist(), token_lengths.tolist(), strict=True)
    ):
        if log_prob == -torch.inf:
            alignments.append(None)
            continue
        spans = token_frames(paths[row][:length])
        alignments.append(Alignment(tuple(tokens[row, :count].tolist()), *spans, log_prob))
    return alignments


def _walk(log_probs: Tensor, frame_lengths: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Give each state's best log-probability (B, 2 L + 1) and how far back it came from."""
    frames = log_probs.shape[1]
    never = torch.tensor(-torch.inf, dtype=torch.float64, device=log_probs.device)
    # A token may follow another one directly, unless they are the same.
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 2:] = (labels[:, 2:] != BLANK) & (labels[:, 2:] != labels[:, :-2])
    best = never.expand(labels.shape).clone()
    best[:, 0] = 0.0
    steps: list[Tensor] = []
    for frame in range(frames):
        emitted = log_probs[:, frame].double().gather(1, labels)
        ways = [best, torch.nn.functional.pad(best, (1, 0), value=-torch.inf)[:, :-1]]
        two_back = torch.nn.functional.pad(best, (2, 0), value=-torch.inf)[:, : best.shape[1]]
        ways.append(torch.where(skips, two_back, never))
        if frame == 0:
            # Before the first frame the walk stands in front of the first blank.
            start = never.expand(labels.shape).clone()
            start[:, :2] = 0.0
            ways = [start, start, start]
        reached, step = torch.stack(ways).max(dim=0)
        inside = (frame < frame_lengths).unsqueeze(1)
        best = torch.where(inside, reached + emitted, best)
        steps.append(step.to(torch.int8))
    return best, steps
