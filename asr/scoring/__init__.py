"""Scoring counts what was recognised wrongly: alignments, word and character error rates."""

from asr.scoring.alignment import Alignment, ErrorCounts, Operation, align, count_errors
from asr.scoring.details import Details
from asr.scoring.metric import ErrorMetric
from asr.scoring.report import format_alignment, format_counts, format_summary
from asr.scoring.score import Score, UtteranceScore, cross_check, score_pairs

__all__ = [
    "Alignment",
    "Details",
    "ErrorCounts",
    "ErrorMetric",
    "Operation",
    "Score",
    "UtteranceScore",
    "align",
    "count_errors",
    "cross_check",
    "format_alignment",
    "format_counts",
    "format_summary",
    "score_pairs",
]
