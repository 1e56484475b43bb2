"""JSON: all that is known of a transcript, under whisper's keys and some more.

``transcript.schema.json`` beside this file is the format as a JSON Schema.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.segments import Segment, Shape
from asr.text import readable

if TYPE_CHECKING:
    from asr.transcript import Candidates, Transcript

SCHEMA = "asr-transcript"
SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).with_name("transcript.schema.json")


def format_json(transcript: "Transcript", shape: Shape) -> str:
    """Write one JSON object over several lines.

    Args:
        transcript: what to write.
        shape: unused, segments are written as they are.
    """
    return json.dumps(transcript_document(transcript), ensure_ascii=False, indent=1) + "\n"


def format_jsonl(transcript: "Transcript", shape: Shape) -> str:
    """Write the same object in one line; such lines together are a manifest of hypotheses.

    Args:
        transcript: what to write.
        shape: unused, segments are written as they are.
    """
    return json.dumps(transcript_document(transcript), ensure_ascii=False) + "\n"


def transcript_document(transcript: "Transcript") -> dict[str, Any]:
    """Give a transcript as plain values, as ``transcript.schema.json`` describes them.

    Args:
        transcript: what to give.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "id": transcript.name,
        "audio_filepath": readable(transcript.path),
        "duration": round(transcript.duration_seconds, 3),
        "declared_duration": _rounded(transcript.declared_seconds),
        "decoded_duration": round(transcript.decoded_seconds, 3),
        "text": transcript.text,
        "language": None,
        "segments": [
            _segment(number, segment) for number, segment in enumerate(transcript.segments)
        ],
        "channel": transcript.channel,
        "model": readable(transcript.model),
        "decoder": transcript.decoder,
        "log_prob": round(transcript.log_prob, 3),
        **({"nbest": [_nbest(each) for each in transcript.nbest]} if transcript.nbest else {}),
        "warnings": [readable(warning) for warning in transcript.warnings],
    }


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "channel": segment.channel,
        "words": [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "probability": round(word.probability, 4),
            }
            for word in segment.words
        ],
    }


def _nbest(stretch: "Candidates") -> dict[str, Any]:
    return {
        "start": round(stretch.start, 3),
        "end": round(stretch.end, 3),
        "channel": stretch.channel,
        "hypotheses": [
            {"text": each.text, "log_prob": round(each.log_prob, 3), "score": round(each.score, 3)}
            for each in stretch.candidates
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
