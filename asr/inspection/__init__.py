"""Looking inside a trained model: its gates and states over the time of a recording."""

from asr.inspection.summary import Summary, summarize
from asr.inspection.trace import Trace, UnitTrace, trace_audio

__all__ = ["Summary", "Trace", "UnitTrace", "summarize", "trace_audio"]
