"""Training with Lightning, which nothing outside this package imports."""

from asr.training.fit import TrainingResult, train

__all__ = ["TrainingResult", "train"]
