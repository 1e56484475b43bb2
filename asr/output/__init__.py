"""Output formats: one file a kind; each turns a transcript into the text of a file."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from asr.output.documents import format_json, format_jsonl
from asr.output.nist import format_ctm, format_stm, format_trn
from asr.output.plain import format_tsv, format_txt
from asr.output.subtitles import format_srt, format_vtt
from asr.output.textgrid import format_textgrid
from asr.segments import Shape

if TYPE_CHECKING:
    from asr.transcript import Transcript

FORMATS: dict[str, Callable[["Transcript", Shape], str]] = {
    "txt": format_txt,
    "srt": format_srt,
    "vtt": format_vtt,
    "tsv": format_tsv,
    "json": format_json,
    "jsonl": format_jsonl,
    "ctm": format_ctm,
    "stm": format_stm,
    "trn": format_trn,
    "textgrid": format_textgrid,
}
# Programs look for some formats under another ending than their name.
SUFFIXES = {"textgrid": "TextGrid"}
# Files of these can be joined into one of the same format.
JOINABLE = ("txt", "jsonl", "ctm", "stm", "trn")


def format_named(name: str, transcript: "Transcript", shape: Shape) -> str:
    """Turn a transcript into the text of a file.

    Args:
        name: a key of ``FORMATS``.
        transcript: what to write.
        shape: how wide lines of subtitles may be.

    Returns:
        The text, which ends with a line end unless it is empty.
    """
    return FORMATS[name](transcript, shape)


def suffix_of(name: str) -> str:
    """Give the ending, without a dot, of files of a format."""
    return SUFFIXES.get(name, name)
