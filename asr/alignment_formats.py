"""Alignments in the formats of transcripts: words, and tokens where a format has room for them."""

import json
from typing import TYPE_CHECKING

from asr.output.nist import format_ctm
from asr.output.textgrid import format_tiers
from asr.segments import DEFAULT_SHAPE, Segment
from asr.text import readable
from asr.transcript import Transcript

if TYPE_CHECKING:
    from asr.alignment import AlignedUtterance


def format_alignment(form: str, aligned: "AlignedUtterance", *, one_line: bool = False) -> str:
    """Turn an alignment into the text of a file.

    Args:
        form: ``"ctm"``, ``"textgrid"`` or ``"json"``.
        aligned: what to write; it has no error.
        one_line: JSON without line breaks within.

    Returns:
        The text, which ends with a line end.
    """
    if form == "ctm":
        return format_ctm(_transcript(aligned), DEFAULT_SHAPE)
    if form == "textgrid":
        words = [(word.start, word.end, word.text) for word in aligned.words]
        tokens = [(each.start, each.end, each.text) for each in aligned.tokens]
        return format_tiers([("words", words), ("tokens", tokens)], aligned.duration_seconds)
    return _format_json(aligned, one_line)


def _transcript(aligned: "AlignedUtterance") -> Transcript:
    return Transcript(
        path=aligned.path,
        text=aligned.text,
        duration_seconds=aligned.duration_seconds,
        decoded_seconds=aligned.duration_seconds,
        segments=(Segment(aligned.words),),
        id=aligned.id,
    )


def _format_json(aligned: "AlignedUtterance", one_line: bool) -> str:
    document = {
        "schema": "asr-alignment",
        "schema_version": 1,
        "id": readable(aligned.id),
        "audio_filepath": readable(aligned.path),
        "duration": round(aligned.duration_seconds, 3),
        "text": aligned.text,
        "log_prob": round(aligned.log_prob, 3),
        "words": [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "probability": round(word.probability, 4),
            }
            for word in aligned.words
        ],
        "tokens": [
            {"token": each.text, "start": round(each.start, 3), "end": round(each.end, 3)}
            for each in aligned.tokens
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=None if one_line else 1) + "\n"
