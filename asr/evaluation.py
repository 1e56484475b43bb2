"""An evaluation transcribes a manifest, scores the transcripts and records how it was done."""

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from asr import __version__
from asr.errors import ScoringError
from asr.files import atomic_write, reserved_folder
from asr.manifest import Utterance
from asr.scoring import (
    ErrorCounts,
    Score,
    cross_check,
    format_alignment,
    format_summary,
    score_pairs,
)
from asr.scoring.listing import format_change
from asr.text import NORMALIZERS, normalize_text, one_word

if TYPE_CHECKING:
    from asr.decoding.words import Word
    from asr.transcript import Transcript

REFERENCES = "references.txt"
HYPOTHESES = "hypotheses.txt"
ALIGNMENTS = "alignments.txt"
RESULT = "score.json"
_PACKAGES = ("torch", "onnxruntime", "openvino", "llvmlite", "rapidfuzz", "jiwer")


class Transcriber(Protocol):
    """What is evaluated: `asr.recognizer.Recognizer`, or anything that transcribes as it does."""

    def transcribe_many(
        self, paths: Sequence[str | Path], *, batch_seconds: float = ..., workers: int = ...
    ) -> "Iterator[Transcript]":
        """Transcribe audio files, one transcript each in the same order."""


@dataclass(frozen=True)
class Notice:
    """What a user should know of one utterance's audio.

    Attributes:
        id: the utterance.
        audio_filepath: its audio.
        message: what happened.
    """

    id: str
    audio_filepath: str
    message: str


@dataclass(frozen=True)
class Evaluation:
    """A score and the circumstances under which it was reached.

    Attributes:
        score: errors of every utterance and in total, of the normalised texts.
        raw: the same of the texts as they were before.
        failures: utterances whose audio could not be transcribed; their words count as deletions.
        warnings: utterances transcribed with reservations, such as damaged audio.
        audio_seconds: audio decoded.
        processing_seconds: wall time from the first file opened to the last transcript, with
            reading and resampling of audio, without loading of the model.
        normalizer: name and version of the rule applied to both sides.
        model: where the model came from, as the caller put it.
        manifest: where the utterances came from, as the caller put it.
        date: when transcription began, ISO 8601 in UTC.
        decoder: how the texts were found.
        words: of each transcript with their times, before any normaliser.
        backend: what computed.
    """

    score: Score
    raw: Score
    failures: tuple[Notice, ...]
    warnings: tuple[Notice, ...]
    audio_seconds: float
    processing_seconds: float
    normalizer: str
    model: str
    manifest: str
    date: str
    decoder: str = ""
    words: "Mapping[str, tuple[Word, ...]]" = field(default_factory=dict)
    backend: str = ""

    @property
    def confidences(self) -> dict[str, tuple[float, ...]]:
        """How sure the words of each transcript are, 0 to 1."""
        return {each: tuple(w.probability for w in words) for each, words in self.words.items()}

    @property
    def real_time_factor(self) -> float:
        """Processing seconds per second of audio; NaN when no audio was decoded."""
        return self.processing_seconds / self.audio_seconds if self.audio_seconds else math.nan


def evaluate(
    recognizer: Transcriber,
    utterances: Sequence[Utterance],
    output_dir: Path | str | None = None,
    *,
    batch_seconds: float = 120.0,
    workers: int = 2,
    normalizer: str = "none",
    model: str = "",
    manifest: str = "",
    progress: bool = False,
) -> Evaluation:
    """Transcribe utterances and score the transcripts, counting all errors twice.

    Args:
        recognizer: transcribes the audio; its transcripts are joined in the utterances' order.
        utterances: audio and what is said in it; ids must differ.
        output_dir: where `write_evaluation` puts its files; None writes none.
        batch_seconds: audio transcribed at once, in seconds.
        workers: threads that read audio ahead; 0 reads between batches.
        normalizer: a key of ``NORMALIZERS``, applied to references and hypotheses.
        model: name of the model for the record.
        manifest: name of the manifest for the record.
        progress: draw a progress bar on stderr.

    Returns:
        The evaluation. Audio that failed is a missing hypothesis and stands in ``failures``.

    Raises:
        ScoringError: no utterance, an id that stands twice, transcripts that do not belong to the
            utterances, or totals on which jiwer disagrees.
        UsageError: no normaliser has that name.
        OSError: the output folder cannot be written; this shows before the work begins.
    """
    references = _references(utterances, normalizer)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    started = time.perf_counter()
    paths = [utterance.audio_filepath for utterance in utterances]
    stream = recognizer.transcribe_many(paths, batch_seconds=batch_seconds, workers=workers)
    bar = tqdm(stream, "transcribing", len(paths), unit="utt", disable=not progress)
    with reserved_folder(output_dir):
        transcripts = list(bar)
    processing_seconds = time.perf_counter() - started
    _check_order(utterances, transcripts)
    score = _score(references, utterances, transcripts, normalizer)
    cross_check(score)
    pairs = list(zip(utterances, transcripts, strict=True))
    evaluation = Evaluation(
        score=score,
        raw=_score(_references(utterances, "none"), utterances, transcripts, "none"),
        failures=_notices(pairs, lambda each: () if each.error is None else (each.error,)),
        warnings=_notices(pairs, lambda each: each.warnings),
        audio_seconds=math.fsum(transcript.decoded_seconds for transcript in transcripts),
        processing_seconds=processing_seconds,
        normalizer=str(NORMALIZERS[normalizer]),
        model=model,
        manifest=manifest,
        date=date,
        backend=getattr(recognizer, "backend", ""),
        decoder=transcripts[0].decoder,
        words={each.id: found.words for each, found in pairs if found.words},
    )
    if output_dir is not None:
        write_evaluation(output_dir, evaluation)
    return evaluation


def _notices(
    pairs: "Sequence[tuple[Utterance, Transcript]]",
    messages: "Callable[[Transcript], Sequence[str]]",
) -> tuple[Notice, ...]:
    return tuple(
        Notice(utterance.id, utterance.audio_filepath, message)
        for utterance, transcript in pairs
        for message in messages(transcript)
    )


def _score(
    references: dict[str, str],
    utterances: Sequence[Utterance],
    transcripts: "Sequence[Transcript]",
    normalizer: str,
) -> Score:
    hypotheses = {
        utterance.id: normalize_text(transcript.text, normalizer)
        for utterance, transcript in zip(utterances, transcripts, strict=True)
        if transcript.error is None
    }
    return score_pairs(references, hypotheses)


def _references(utterances: Sequence[Utterance], normalizer: str) -> dict[str, str]:
    if not utterances:
        raise ScoringError("there is no utterance to evaluate; expected at least one")
    references: dict[str, str] = {}
    for utterance in utterances:
        if utterance.id in references:
            raise ScoringError(
                f"the id '{utterance.id}' stands twice among the utterances to evaluate; "
                "give every utterance an id of its own"
            )
        references[utterance.id] = normalize_text(utterance.text, normalizer)
    return references


def _check_order(utterances: Sequence[Utterance], transcripts: "Sequence[Transcript]") -> None:
    if len(transcripts) != len(utterances):
        raise ScoringError(
            f"{len(transcripts)} transcripts came back for {len(utterances)} utterances; "
            "expected one each, please report this"
        )
    for utterance, transcript in zip(utterances, transcripts, strict=True):
        if Path(transcript.path) != Path(utterance.audio_filepath):
            raise ScoringError(
                f"utterance '{utterance.id}' got the transcript of {transcript.path}; expected "
                f"that of {utterance.audio_filepath}, please report this"
            )


def format_evaluation(evaluation: Evaluation) -> str:
    """Write an evaluation in a few lines, word error rate first.

    Args:
        evaluation: what to write.

    Returns:
        Lines without a trailing newline: the score's summary, the speed, and what was scored how.
    """
    lines = [
        format_summary(evaluation.score),
        format_speed(evaluation),
        f"manifest {evaluation.manifest or 'not named'}, model {evaluation.model or 'not named'}, "
        f"normalizer {evaluation.normalizer}"
        + (f", decoder {evaluation.decoder}" if "beam" in evaluation.decoder else ""),
    ]
    if evaluation.normalizer != str(NORMALIZERS["none"]):
        lines.append(format_change(evaluation.raw, evaluation.score))
    failed, warned = len(evaluation.failures), len(evaluation.warnings)
    if failed or warned:
        lines.append(f"failed utterances: {failed}, warnings: {warned}")
    return "\n".join(lines)


def format_speed(evaluation: Evaluation) -> str:
    """Write in one line how long transcribing took.

    Args:
        evaluation: what to write.
    """
    hours, spent = evaluation.audio_seconds / 3600, evaluation.processing_seconds
    factor = evaluation.real_time_factor
    return f"{hours:.3f} h of audio in {spent:.1f} s: real-time factor {factor:.4f}"


def write_evaluation(folder: Path | str, evaluation: Evaluation) -> None:
    """Write references, hypotheses, alignments and all figures into a folder.

    ``references.txt`` and ``hypotheses.txt`` hold ``id text`` lines of the normalised texts;
    utterances without a hypothesis are left out of the latter. An id that holds whitespace or a
    percent sign has those percent-encoded there. ``alignments.txt`` shows each utterance in
    sclite's manner. ``score.json`` is written last and removed first, so that where it stands the
    other files belong to it; other files of the folder stay.

    Args:
        folder: where to write; made if needed.
        evaluation: what to write.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    utterances = evaluation.score.utterances
    (target / RESULT).unlink(missing_ok=True)
    with atomic_write(target / REFERENCES) as stream:
        stream.writelines(_line(utterance.id, utterance.reference) for utterance in utterances)
    with atomic_write(target / HYPOTHESES) as stream:
        stream.writelines(
            _line(utterance.id, utterance.hypothesis)
            for utterance in utterances
            if not utterance.missing
        )
    with atomic_write(target / ALIGNMENTS) as stream:
        for utterance in utterances:
            words = utterance.words
            stream.write(
                f"id: {utterance.id}{' (no hypothesis)' if utterance.missing else ''}\n"
                f"Scores: (#C #S #D #I) {words.correct} {words.substitutions} {words.deletions} "
                f"{words.insertions}\n{format_alignment(utterance.align())}\n\n"
            )
    with atomic_write(target / RESULT) as stream:
        json.dump(_figures(evaluation), stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def _line(identity: str, text: str) -> str:
    return f"{one_word(identity)} {' '.join(text.split())}".rstrip() + "\n"


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    score = evaluation.score
    return {
        "wer": _number(score.words.rate),
        "wer_before_normalizer": _number(evaluation.raw.words.rate),
        "cer": _number(score.characters.rate),
        "ser": score.sentence_error_rate,
        "words": _counts(score.words),
        "characters": _counts(score.characters),
        "utterances": len(score.utterances),
        "sentence_errors": score.sentence_errors,
        "missing": list(score.missing),
        "failures": [asdict(notice) for notice in evaluation.failures],
        "warnings": [asdict(notice) for notice in evaluation.warnings],
        "audio_seconds": evaluation.audio_seconds,
        "processing_seconds": evaluation.processing_seconds,
        "real_time_factor": _number(evaluation.real_time_factor),
        "normalizer": evaluation.normalizer,
        "model": evaluation.model,
        "backend": evaluation.backend,
        "decoder": evaluation.decoder,
        "manifest": evaluation.manifest,
        "date": evaluation.date,
        "versions": {
            "asr": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES if find_spec(name)},
        },
    }


def _counts(counts: ErrorCounts) -> dict[str, int]:
    return {**asdict(counts), "errors": counts.errors, "reference_length": counts.words}


def _number(value: float) -> float | None:
    # JSON knows neither infinity nor NaN.
    return value if math.isfinite(value) else None
