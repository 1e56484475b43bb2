"""The gated recurrent unit in both forms: equations, recurrence with its gradient, module."""

from asr.gru.export import onnx_translations
from asr.gru.module import GRU
from asr.gru.reference import gru_step

__all__ = ["GRU", "gru_step", "onnx_translations"]
