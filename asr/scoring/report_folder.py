"""A report folder holds everything about a score: a page, tables, and the files of sclite."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from asr.files import atomic_write
from asr.scoring.details import Details
from asr.scoring.page import build_page
from asr.scoring.reported import Reported
from asr.scoring.sclite_files import (
    format_alignments,
    format_details,
    format_segments,
    format_speakers,
    format_transcripts,
    format_words,
)
from asr.scoring.score import Score
from asr.scoring.tables import write_csv, write_json
from asr.scoring.transcripts import Segment

if TYPE_CHECKING:
    from asr.scoring.breakdown import Group
    from asr.scoring.confusions import Confusions
    from asr.scoring.intervals import Interval

# Written last: where it stands, the other files belong to it.
_SEAL = "report.json"
_SEGMENTS, _WORDS = "ref.stm", "hyp.ctm"
_ABSENT = {
    _SEGMENTS: "There is no ref.stm beside this report, since it would state how long every "
    "utterance lasts, which is not known{where}.",
    _WORDS: "There is no hyp.ctm beside this report, since it would state when every word was "
    "said, which is not known{where}; words spread evenly over an utterance would be invented "
    "times.",
}


def write_report(
    folder: Path | str,
    score: Score,
    details: Details,
    *,
    title: str,
    normalizer: str,
    interval: "Interval | None",
    confusions: "Confusions",
    groups: "Mapping[str, tuple[Group, ...]]",
    notes: Sequence[str] = (),
    segments: Mapping[str, Segment] | None = None,
    word_times: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> tuple[Path, ...]:
    """Write a score as a page, as tables, and in the formats of NIST's sclite.

    ``report.html`` is one file that needs no network. ``report.csv`` has one row an utterance.
    ``report.sys``, ``report.pra`` and ``report.dtl`` are laid out as ``sclite -s -e utf-8 -i
    spu_id -o sys pra dtl`` does. ``ref.trn`` and ``hyp.trn`` hold the normalised texts; in the
    latter an utterance without a hypothesis is an empty line, without which sclite refuses the
    file. ``ref.stm`` is written where the segment or duration of every utterance is known, and
    ``hyp.ctm`` where the times of every word are; a note says where they are not.
    ``report.json``, with everything, is written last and removed first, so that where it stands
    the other files belong to it; other files of the folder stay.

    Args:
        folder: where to write; made if needed.
        score: what to report.
        details: what is known of the utterances beside their texts.
        title: what was scored, such as the name of the system.
        normalizer: name and version of the rule applied to both sides.
        interval: how sure the word error rate is, or None.
        confusions: the most frequent errors.
        groups: parts of the score by what they were grouped by: ``speaker``, ``part``,
            ``length``, ``duration`` or any other.
        notes: what a reader must know of the figures, one sentence each.
        segments: where utterances lie in recordings, by id.
        word_times: start and duration in seconds of each word of the hypotheses, by id; within
            the segment's recording, or within the utterance where there are no segments.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    reported = Reported(
        score=score,
        details=details,
        title=" ".join(title.split()),
        normalizer=normalizer,
        interval=interval,
        confusions=confusions,
        groups=groups,
        notes=notes,
        segments=segments or {},
        word_times=word_times or {},
    )
    untimed = _count_untimed(reported)
    absent = [_explain(name, lacking, len(score.utterances)) for name, lacking in untimed.items()]
    reported = replace(reported, notes=(*notes, *filter(None, absent)))
    for name in (_SEAL, *untimed):
        (target / name).unlink(missing_ok=True)
    texts = [(name, text) for name, text in _texts(reported, target) if not untimed.get(name)]
    bar = tqdm(texts, "writing the report", unit="file", leave=False, disable=None)
    written = [_write(target / name, text()) for name, text in bar]
    with atomic_write(target / "report.csv") as stream:
        write_csv(reported, stream)
    with atomic_write(target / _SEAL) as stream:
        write_json(reported, stream)
    return (*written, target / "report.csv", target / _SEAL)


def _count_untimed(reported: Reported) -> dict[str, int]:
    # Files that state times, and how many utterances lack what they state.
    known, times = {*reported.segments, *reported.details.durations}, reported.word_times
    utterances = reported.score.utterances
    return {
        _SEGMENTS: sum(utterance.id not in known for utterance in utterances),
        _WORDS: sum(
            len(times.get(utterance.id, ())) != len(utterance.hypothesis.split())
            for utterance in utterances
        ),
    }


def _explain(name: str, lacking: int, utterances: int) -> str:
    where = "" if lacking == utterances else f" of {lacking:,} of the {utterances:,} utterances"
    return _ABSENT[name].format(where=where) if lacking else ""


def _texts(reported: Reported, folder: Path) -> Iterator[tuple[str, Callable[[], Iterable[str]]]]:
    utterances = reported.score.utterances
    yield "report.html", lambda: [build_page(reported, folder)]
    yield "report.sys", lambda: [format_speakers(reported)]
    yield "report.pra", lambda: format_alignments(reported)
    yield "report.dtl", lambda: format_details(reported)
    yield "ref.trn", lambda: format_transcripts((u.id, u.reference) for u in utterances)
    yield "hyp.trn", lambda: format_transcripts((u.id, u.hypothesis) for u in utterances)
    yield _SEGMENTS, lambda: format_segments(reported)
    yield _WORDS, lambda: format_words(reported)


def _write(path: Path, pieces: Iterable[str]) -> Path:
    with atomic_write(path) as stream:
        stream.writelines(pieces)
    return path
