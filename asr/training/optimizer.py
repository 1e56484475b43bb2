"""The optimizer of a training module, and how its gradients are bounded."""

import torch
from torch import nn


def make_adamw(
    module: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter 2019) with weight decay on matrices only.

    Args:
        module: whose trained parameters it moves.
        lr: learning rate.
        betas: decay rates of the two moments.
        weight_decay: of matrices; biases and norms are not decayed.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    # The biases of a GRU's two directions lie in one matrix: the name tells, not the shape.
    decayed = [p for name, p in named if p.dim() > 1 and "bias" not in name]
    others = [p for name, p in named if p.dim() <= 1 or "bias" in name]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas)


def clip_apart(
    module: nn.Module, part: nn.Module | None, most: float | None, algorithm: str | None = None
) -> None:
    """Bound gradients, those of a part by their own norm.

    Args:
        module: whose gradients are clipped.
        part: a part of it that learns on its own, or None.
        most: the largest norm; None or 0: nothing is clipped.
        algorithm: ``"value"`` bounds each number instead, as in Lightning.
    """
    if not most:
        return
    if algorithm == "value":
        torch.nn.utils.clip_grad_value_(module.parameters(), most)
        return
    own = list(part.parameters()) if part is not None else []
    theirs = {id(parameter) for parameter in own}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in theirs]
    for parameters in (rest, own):
        torch.nn.utils.clip_grad_norm_(parameters, most)


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float, steps: int) -> None:
    """Move an exponential moving average of weights after a step.

    Args:
        average: gets the new averages.
        module: has the new weights.
        decay: share of the average that is kept.
        steps: those taken before this one.
    """
    # At first the average follows closely, or it would long remember the random start.
    decay = min(decay, (1 + steps) / (10 + steps))
    for mean, weight in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)
