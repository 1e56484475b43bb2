"""Training with Lightning, which nothing outside this package imports."""

from asr.training.dry_run import describe
from asr.training.estimate import Estimate, estimate
from asr.training.fit import TrainingResult, train
from asr.training.parts import Expected
from asr.training.run import is_main_process

__all__ = [
    "Estimate",
    "Expected",
    "TrainingResult",
    "describe",
    "estimate",
    "is_main_process",
    "train",
]
