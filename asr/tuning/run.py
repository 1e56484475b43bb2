"""A tuning from model folder and manifest to new defaults of the decoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr.decoder import Knowledge, build_decoder, sentence_rescorer
from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.options import DecoderOptions
from asr.decoding.words import Word, WordCalibration
from asr.encoding import LogProbs
from asr.errors import AudioError, UsageError
from asr.lm.hotwords import HotwordScorer
from asr.lm.loading import load_scorer, load_sentence_model
from asr.manifest import Utterance
from asr.posteriors import iterate_log_probs
from asr.scoring.alignment import count_errors
from asr.scoring.calibration import area_under_roc
from asr.scoring.word_times import StartErrors, Truth, start_errors
from asr.text import normalize_text
from asr.transcriber import Transcriber
from asr.tuning.cache import fill_cache, fingerprint, open_cache
from asr.tuning.confidence import (
    Judged,
    confidences,
    fit_offset,
    fit_reach,
    fit_temperature,
    judge,
)
from asr.tuning.line import HOTWORD_WEIGHTS, RIVAL_SUMS, Line, Ranked, line_of, rescoring_line
from asr.tuning.search import Task, Tuning, tune
from asr.windows import encoder_frame_seconds


@dataclass(frozen=True)
class TuningSet:
    """A development set, encoded.

    Attributes:
        recognizer: whose model encoded it.
        utterances: those whose audio could be read.
        log_probs: ``(U, V)`` of each of them.
        failures: what could not be read, in sentences.
        normalizer: key of ``NORMALIZERS``.
        progress: whether to draw progress bars on stderr.
    """

    recognizer: Transcriber
    utterances: tuple[Utterance, ...]
    log_probs: Sequence[LogProbs]
    failures: tuple[str, ...]
    normalizer: str
    progress: bool = True

    @property
    def references(self) -> list[list[str]]:
        """The words of each utterance, normalised."""
        return [normalize_text(each.text, self.normalizer).split() for each in self.utterances]

    def words(self, hypothesis: Hypothesis) -> list[str]:
        """Give a hypothesis' words, normalised."""
        text = self.recognizer.tokenizer.decode(hypothesis.tokens)
        return normalize_text(text, self.normalizer).split()

    @property
    def word_count(self) -> int:
        """Reference words of the set."""
        return sum(map(len, self.references))

    def errors_of(self, decoder: Decoder) -> int:
        """Count the word errors of a decoder's best hypotheses."""
        rows = zip(self.log_probs, self.references, strict=True)
        return sum(
            count_errors(reference, self.words(decoder.decode(log_probs)[0])).errors
            for log_probs, reference in rows
        )


def gather(
    recognizer: Transcriber,
    model: Path | str,
    utterances: Sequence[Utterance],
    folder: Path,
    normalizer: str,
    *,
    batch_seconds: float = 120.0,
    workers: int = 2,
    progress: bool = True,
) -> TuningSet:
    """Encode a development set, or take its log-probabilities from an earlier call.

    Args:
        recognizer: encodes it.
        model: the folder that the recognizer was loaded from.
        utterances: the set.
        folder: where log-probabilities are kept.
        normalizer: key of ``NORMALIZERS``.
        batch_seconds: seconds of audio that are encoded together.
        workers: threads that read audio ahead.
        progress: whether to draw progress bars on stderr.

    Raises:
        AudioError: no recording could be read.
    """
    mark = fingerprint(model, [each.audio_filepath for each in utterances], recognizer.backend)
    failures: dict[str, str] = {}
    width = recognizer.tokenizer.vocabulary_size

    def encode() -> Iterator[LogProbs]:
        paths = [each.audio_filepath for each in utterances]
        with tqdm(total=len(paths), desc="encoding", unit="utt", disable=not progress) as bar:
            found = iterate_log_probs(
                recognizer,
                paths,
                batch_seconds=batch_seconds,
                workers=workers,
                progress=bar.update,
            )
            for each, rows in zip(utterances, found, strict=True):
                if isinstance(rows, str):
                    failures[each.id] = rows
                    rows = np.empty((0, width), np.float32)
                yield rows

    cache = open_cache(folder, mark)
    if cache is None:
        cache = fill_cache(folder, mark, encode)
    places = [place for place in range(len(cache)) if len(cache[place])]
    if not places:
        raise AudioError("no recording of the manifest could be read; see `asr evaluate`")
    for place in set(range(len(cache))) - set(places):
        each = utterances[place]
        failures.setdefault(each.id, f"{each.audio_filepath}: could not be read")
    return TuningSet(
        recognizer,
        tuple(utterances[place] for place in places),
        _Part(cache, places),
        tuple(f"{identity}: {message}" for identity, message in failures.items()),
        normalizer,
        progress,
    )


class _Part(Sequence[LogProbs]):
    # Chosen items of a sequence that is too large to copy.
    def __init__(self, whole: Sequence[LogProbs], places: Sequence[int]) -> None:
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    # Sequence wants an overload each for an index and a slice.
    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._whole[self._places[index]]


def tune_rivals(collected: TuningSet, options: DecoderOptions) -> Line:
    """Count the errors of greedy decoding at every sum below which two tokens are one.

    Args:
        collected: the development set.
        options: of greedy decoding.
    """

    def errors(below: float) -> int:
        settling = replace(options, rivals_below=below)
        return collected.errors_of(build_decoder(collected.recognizer.tokenizer, settling))

    return line_of(RIVAL_SUMS, errors, collected.word_count, "settling rivals")


def tune_weights(collected: TuningSet, options: DecoderOptions, knowledge: Knowledge) -> Tuning:
    """Find LM weight and insertion bonus.

    Args:
        collected: the development set.
        options: pruning, and the weights to begin with.
        knowledge: the language model; phrases stay as they are.
    """
    tokenizer = collected.recognizer.tokenizer
    lm = knowledge.lm
    if lm is None:
        raise UsageError("there is nothing to weigh without a language model; name one with --lm")
    known = [word for phrase in knowledge.hotwords for word in phrase.text.split()]
    task = Task(
        log_probs=collected.log_probs,
        references=collected.references,
        tokenizer=tokenizer,
        make_scorer=lambda weight: load_scorer(lm, tokenizer, weight, known=known),
        pruning=options.pruning,
        rivals_below=options.rivals_below,
        normalize=lambda text: normalize_text(text, collected.normalizer),
        others=[HotwordScorer(knowledge.hotwords, tokenizer)] if knowledge.hotwords else [],
    )

    def progress(rows: Iterator[int], title: str) -> Iterator[int]:
        return iter(tqdm(rows, title, len(task.log_probs), unit="utt"))

    first = (options.lm_weight, options.insertion_bonus)
    return tune(task, first if first[0] > 0 else (0.5, 0.0), progress)


def tune_rescoring(collected: TuningSet, options: DecoderOptions, knowledge: Knowledge) -> Line:
    """Count errors at every weight of the model that ranks the hypotheses of the search.

    Args:
        collected: the development set.
        options: with the weights that were found.
        knowledge: with the rescoring model.
    """
    tokenizer = collected.recognizer.tokenizer
    model = load_sentence_model(knowledge.rescoring_lm or "", tokenizer)
    unit = sentence_rescorer(model, tokenizer, 1.0)
    # The bonus counts as it does with the rescoring model, which itself adds nothing.
    decoder = build_decoder(
        tokenizer, replace(options, rescoring_weight=0.0), knowledge, nbest=options.beam_size
    )
    ranked = []
    references = collected.references
    rows = zip(collected.log_probs, references, strict=True)
    for log_probs, reference in tqdm(rows, "rescoring", len(references), unit="utt"):
        found = decoder.decode(log_probs)
        errors = [count_errors(reference, collected.words(each)).errors for each in found]
        ranked.append(Ranked([each.score for each in found], unit(found), errors))
    return rescoring_line(ranked, collected.word_count)


def tune_hotwords(collected: TuningSet, options: DecoderOptions, knowledge: Knowledge) -> Line:
    """Count errors at every weight of the phrases that have none of their own.

    Args:
        collected: the development set.
        options: with the weights that were found, and with the one that phrases have now.
        knowledge: with the phrases.
    """

    def errors(weight: float) -> int:
        phrases = tuple(
            replace(each, weight=weight) if each.weight == options.hotword_weight else each
            for each in knowledge.hotwords
        )
        search = replace(knowledge, hotwords=phrases, rescoring_lm=None)
        return collected.errors_of(build_decoder(collected.recognizer.tokenizer, options, search))

    return line_of(HOTWORD_WEIGHTS, errors, collected.word_count, "weighing phrases")


def tune_calibration(
    collected: TuningSet, options: DecoderOptions, knowledge: Knowledge, truth: Truth | None
) -> tuple[DecoderOptions, list[str]]:
    """Fit the temperature of confidences and, where true times are known, the offset of times.

    Args:
        collected: the development set.
        options: with the weights that were found.
        knowledge: with which the set is decoded.
        truth: start and text of the words of each utterance; None fits no offset.

    Returns:
        The options with what was fitted, and what there is to say of it.
    """
    recognizer = collected.recognizer
    decoder = build_decoder(recognizer.tokenizer, options, knowledge)
    judged: list[Judged] = []
    rows = zip(collected.log_probs, collected.references, strict=True)
    count, quiet = len(collected.log_probs), not collected.progress
    for log_probs, reference in tqdm(rows, "calibrating", count, unit="utt", disable=quiet):
        hypothesis = decoder.decode(log_probs)[0]
        text = recognizer.tokenizer.decode(hypothesis.tokens)
        text = normalize_text(text, collected.normalizer)
        judged.append(judge(log_probs, hypothesis, text, reference))
    temperature = fit_temperature(judged, recognizer.tokenizer)
    area = area_under_roc(confidences(judged, recognizer.tokenizer, temperature))
    facts = [
        f"confidence: temperature {temperature:.3f}, area under ROC "
        + ("not defined, all words are right or all wrong" if area is None else f"{area:.3f}")
    ]
    fitted = replace(options, temperature=round(temperature, 4))
    if truth is not None:
        reach, offset, errors = _fit_times(collected, judged, truth)
        facts.append(
            f"word times: reach {1000 * reach:.0f} ms, offset {1000 * offset:+.0f} ms; with them "
            f"{errors}"
        )
        fitted = replace(
            fitted, word_offset_seconds=round(offset, 4), word_reach_seconds=round(reach, 4)
        )
    return fitted, facts


def _fit_times(
    collected: TuningSet, judged: Sequence[Judged], truth: Truth
) -> tuple[float, float, StartErrors]:
    """Fit reach and offset; give the errors that are left as well."""
    recognizer = collected.recognizer
    seconds = encoder_frame_seconds(recognizer.acoustic)

    def errors_with(reach: float) -> tuple[float, ...]:
        calibration = WordCalibration(reach_seconds=reach)
        words: dict[str, Sequence[Word]] = {
            utterance.id: each.words(recognizer.tokenizer, seconds, calibration)
            for utterance, each in zip(collected.utterances, judged, strict=True)
        }
        return start_errors(words, truth).seconds

    reach = fit_reach(errors_with)
    errors = errors_with(reach)
    offset = fit_offset(errors)
    return reach, offset, StartErrors(tuple(error + offset for error in errors))
