"""Details are what is known of utterances beside their texts: speaker, duration, audio, part."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Details:
    """What is known of the utterances beside their texts, by utterance id.

    Every mapping may lack any utterance, or be empty.

    Attributes:
        speakers: who speaks.
        durations: length of the audio in seconds.
        audio: path of the audio file.
        parts: part of the corpus, such as ``dev-clean``.
        confidences: one of each word of the hypothesis as it was read, before any normaliser
            changed how many words there are.
    """

    speakers: Mapping[str, str] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)
    audio: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    confidences: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
