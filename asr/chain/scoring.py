"""One model decodes one manifest, and what the table of results needs to know is kept."""

from pathlib import Path
from typing import Any

from asr.decoder import Knowledge, build_decoder
from asr.errors import ScoringError
from asr.evaluation import evaluate
from asr.manifest import read_manifest
from asr.recognizer import Recognizer
from asr.scoring.intervals import bootstrap_interval


def score_manifest(
    model: Path, manifest: Path, folder: Path, lm: Path | None = None
) -> dict[str, Any]:
    """Decode a manifest and score it, as ``asr evaluate MANIFEST -m MODEL -o FOLDER`` does.

    Args:
        model: the model folder.
        manifest: the utterances.
        folder: for references, hypotheses, alignments and ``score.json``.
        lm: a language model to decode with, by the weights of the model folder.

    Returns:
        Figures in percent and counts, plain values.

    Raises:
        ScoringError: audio that could not be decoded; names it.
    """
    utterances = read_manifest(manifest)
    recognizer = Recognizer.load(model)
    if lm:
        options = recognizer.decoder_options
        recognizer.decoder = build_decoder(recognizer.tokenizer, options, Knowledge(lm))
    evaluation = evaluate(
        recognizer,
        utterances,
        folder,
        model=str(model),
        manifest=str(manifest),
        progress=True,
    )
    if evaluation.failures:
        first = evaluation.failures[0]
        raise ScoringError(
            f"{len(evaluation.failures)} recordings of {manifest} could not be transcribed, the "
            f"first: {first.id}: {first.message}; mend them and run again"
        )
    score = evaluation.score
    speakers = {u.id: u.speaker for u in utterances if u.speaker}
    interval = bootstrap_interval(score, speakers)
    words = score.words
    return {
        "wer": 100 * words.rate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "cer": 100 * score.characters.rate,
        "utterances": len(score.utterances),
        "words": words.words,
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "hours": evaluation.audio_seconds / 3600,
        "real_time_factor": evaluation.real_time_factor,
        "date": evaluation.date,
    }
