"""What the tests of the GRU share: both forms, a small stack of layers, float64 noise."""

import pytest
import torch
from torch import Tensor

from asr.gru import GRU

both_forms = pytest.mark.parametrize("reset", ["before", "after"])


def make(reset: str, **options: object) -> GRU:
    return GRU(5, 6, 2, reset=reset, **options).double()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)
