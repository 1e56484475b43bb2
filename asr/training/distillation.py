"""Knowledge distillation: a model learns frame by frame what other, trained ones say."""

import math

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.model import CTCModel
from asr.padding import length_mask
from asr.tokenizer import Tokenizer
from asr.training.trained import load_alike


class Distillation(nn.Module):
    """The distance of each frame's distribution from the mean of those of teachers.

    Teachers hear the whole utterance, where the model that learns has parts of it masked. They may
    be larger and more than one, such as the same recipe's models of several seeds. They are no part
    of a checkpoint, nor of the model that is exported.

    Source: Hinton et al. 2015, arXiv 1503.02531, equation 1 and section 2: distributions are made
    flatter by a temperature, and the divergence is multiplied by its square.

    Args:
        model: what learns; tells which teachers fit.
        tokenizer: its vocabulary.
        teachers: model folders.
        weight: share of the distance in the whole; the other losses have the rest.
        temperature: 1 for the distributions as they are, more for flatter ones.

    Raises:
        ConfigError: no teacher, one of other features, frame rate or tokens, a weight outside
            (0, 1) or a temperature that is not above 0.
        ModelFolderError: a teacher cannot be read.
    """

    def __init__(
        self,
        model: CTCModel,
        tokenizer: Tokenizer,
        teachers: tuple[str, ...] = (),
        weight: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        where = "auxiliary.distillation"
        if not teachers:
            raise ConfigError(f"{where}.teachers names no model folder; expected one or more")
        if not 0 < weight < 1:
            raise ConfigError(f"{where}.weight is {weight}; expected a share within (0, 1)")
        if not 0 < temperature < math.inf:
            raise ConfigError(f"{where}.temperature is {temperature}; expected above 0")
        self.weight = weight
        self.temperature = temperature
        # In a tuple they are no submodules: neither saved, nor trained, nor ever in training mode.
        self.teachers = tuple(
            load_alike(folder, model, tokenizer, f"{where}.teachers").model.requires_grad_(False)
            for folder in teachers
        )
        for teacher in self.teachers:
            teacher.eval()

    @torch.no_grad()
    def teach(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Ask the teachers.

        Args:
            features: ``(B, T, F)``, normalised and not augmented.
            lengths: ``(B,)``, int64, in feature frames.

        Returns:
            Natural logarithms of the mean of their distributions ``(B, U, V)``, float32.
        """
        told = [t.to(features.device).classify(features, lengths)[0] for t in self.teachers]
        return torch.stack(told).logsumexp(dim=0) - math.log(len(told))

    def forward(self, log_probs: Tensor, lengths: Tensor, taught: Tensor) -> Tensor:
        """Measure how far the model is from its teachers.

        Args:
            log_probs: ``(B, U, V)``, natural log-probabilities of the model.
            lengths: ``(B,)``, int64, in frames.
            taught: ``(B, U, V)``, what ``teach`` returns.

        Returns:
            ``(B,)`` float32: the Kullback-Leibler divergence from the teachers' distributions to
            the model's, both flattened, in nats times the temperature's square, summed over frames.
        """
        with torch.autocast(log_probs.device.type, enabled=False):
            own, theirs = (
                torch.log_softmax(x.float() / self.temperature, -1) for x in (log_probs, taught)
            )
            divergence = (theirs.exp() * (theirs - own)).sum(dim=2)
            summed = (divergence * length_mask(lengths, own.shape[1])).sum(dim=1)
            return self.temperature**2 * summed
