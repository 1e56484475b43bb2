"""Files of sclite: a score in the layouts that NIST's program writes and that its readers know."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from asr.scoring.alignment import Alignment, ErrorCounts, Operation
from asr.scoring.report import count_cells
from asr.scoring.reported import Reported
from asr.scoring.sclite_table import SpeakerRow, format_table, percent, round_half_up
from asr.scoring.score import UtteranceScore
from asr.scoring.transcripts import Segment

# sclite breaks an alignment before it reaches this many columns, unless told otherwise.
_LINE_COLUMNS = 1000
_NOTE = """* NOTE: The '{name}' words are those {side} words
        {which}.

"""


def format_transcripts(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Write a trn file: ``text (id)``, one utterance a line.

    Whitespace, parentheses and the percent sign of an id are percent-encoded, since the last
    parentheses of a line are what readers take for the id.

    Args:
        pairs: id and text.

    Yields:
        Lines.
    """
    for identity, text in pairs:
        yield f"{' '.join([*text.split(), _parenthesize(identity)])}\n"


def format_segments(reported: Reported) -> Iterator[str]:
    """Write the references as an stm file.

    Args:
        reported: what to write; the segment or the duration of every utterance must be known. One
            without a segment is written as a recording of its own.

    Yields:
        Lines ``recording channel speaker start end text``; seconds.
    """
    for utterance in reported.score.utterances:
        segment = reported.segments.get(utterance.id)
        if segment is None:
            end = reported.details.durations[utterance.id]
            segment = Segment(utterance.id, "1", 0.0, end)
        yield _line(
            segment.file,
            segment.channel,
            speaker_of(reported, utterance),
            f"{segment.start:.3f}",
            f"{segment.end:.3f}",
            # What opens with such a bracket would be taken for a label.
            *(["<>"] if utterance.reference.lstrip().startswith("<") else []),
            *utterance.reference.split(),
        )


def format_words(reported: Reported) -> Iterator[str]:
    """Write the hypotheses as a ctm file.

    Args:
        reported: what to write; the times of every word must be known.

    Yields:
        Lines ``recording channel start duration word``, and the confidence where it is known.
    """
    for utterance in reported.score.utterances:
        words = utterance.hypothesis.split()
        segment = reported.segments.get(utterance.id)
        place = (segment.file, segment.channel) if segment else (utterance.id, "1")
        confidences = reported.details.confidences.get(utterance.id, ())
        shown = [f"{confidence:.6f}" for confidence in confidences]
        if len(shown) != len(words):
            shown = [""] * len(words)
        times = reported.word_times.get(utterance.id, ())
        for word, (start, duration), confidence in zip(words, times, shown, strict=True):
            yield _line(*place, f"{start:.3f}", f"{duration:.3f}", word, confidence)


def _line(recording: str, channel: str, *fields: str) -> str:
    return " ".join((encode_id(recording), channel, *fields)).rstrip() + "\n"


def speaker_of(reported: Reported, utterance: UtteranceScore) -> str:
    """Name who speaks; where that is not known, by sclite's rule for ids of the kind spu_id.

    Args:
        reported: knows speakers.
        utterance: one of its utterances.

    Returns:
        The speaker, or what stands before the first dash of the id, or before its first underline
        where it has no dash, or the whole id where it has neither; never empty.
    """
    known = reported.details.speakers.get(utterance.id)
    begin = utterance.id.partition("-" if "-" in utterance.id else "_")[0]
    return known or begin or utterance.id


def encode_id(identity: str) -> str:
    """Make an id one word without parentheses, so that sclite's readers find its ends."""
    # Escaping the escape keeps distinct ids distinct.
    return "".join(
        quote(character) if character.isspace() or character in "%()" else character
        for character in identity
    )


def _parenthesize(identity: str) -> str:
    return f"({encode_id(identity)})"


def format_alignments(reported: Reported) -> Iterator[str]:
    """Write every alignment by speaker, as sclite's pra does.

    Args:
        reported: what to write.

    Yields:
        Pieces of the file.
    """
    by_speaker: dict[str, list[tuple[UtteranceScore, Alignment]]] = {}
    for utterance, alignment in zip(reported.score.utterances, reported.alignments, strict=True):
        members = by_speaker.setdefault(speaker_of(reported, utterance), [])
        members.append((utterance, alignment))
    yield f"\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\nSystem name:   {reported.title}\n\n"
    yield "Speakers: \n"
    for number, speaker in enumerate(by_speaker):
        yield f"   {number:2d}:  {speaker}\n"
    yield "\n"
    for number, (speaker, members) in enumerate(by_speaker.items()):
        yield f"Speaker sentences{number:4d}:  {speaker}   #utts: {len(members)}\n"
        for utterance, alignment in members:
            counts = alignment.counts
            yield (
                f"id: {_parenthesize(utterance.id)}\n"
                f"Scores: (#C #S #D #I) {counts.correct} {counts.substitutions} "
                f"{counts.deletions} {counts.insertions}\n"
                "Attributes: Case_sensitve \n"
            )
            yield from format_operations(alignment.operations)
            yield "\n"
    yield "\n"


def format_operations(operations: Sequence[Operation]) -> Iterator[str]:
    """Write one alignment in lines ``REF:``, ``HYP:`` and ``Eval:``, as often as its length needs.

    Args:
        operations: the alignment's steps.

    Yields:
        Three lines at a time.
    """
    begin = 0
    while begin < len(operations):
        end = _line_end(operations, begin)
        mark = ">> " if begin else ""
        rows = [f"{mark}REF:  ", f"{mark}HYP:  ", f"{mark}Eval: "]
        for kind, reference, hypothesis in operations[begin:end]:
            width = _width(reference, hypothesis)
            cells = (
                "*" * width if reference is None else reference,
                "*" * width if hypothesis is None else hypothesis,
                "" if kind == "C" else kind,
            )
            rows = [
                row + cell + " " * (width - count_cells(cell) + 1)
                for row, cell in zip(rows, cells, strict=True)
            ]
        yield ("\n" if begin else "") + "\n".join(rows) + "\n"
        begin = end


def _line_end(operations: Sequence[Operation], begin: int) -> int:
    columns, end = 9 if begin else 6, begin
    while columns < _LINE_COLUMNS and end < len(operations):
        _, reference, hypothesis = operations[end]
        columns += 1 + _width(reference, hypothesis)
        end += 1
    # sclite leaves the last word to the next line even where it fits.
    return end if end == len(operations) else max(end - 1, begin + 1)


def _width(reference: str | None, hypothesis: str | None) -> int:
    # sclite counts bytes, which puts words in columns only where they are ASCII.
    return max(count_cells(reference or ""), count_cells(hypothesis or ""), 1)


def format_speakers(reported: Reported) -> str:
    """Write errors in percent, speaker by speaker, as sclite's sys does.

    Args:
        reported: what to write.

    Returns:
        The file's text.
    """
    members: dict[str, list[UtteranceScore]] = {}
    for utterance in reported.score.utterances:
        members.setdefault(speaker_of(reported, utterance), []).append(utterance)
    rows = []
    for speaker, utterances in members.items():
        words = sum((utterance.words for utterance in utterances), ErrorCounts())
        wrong = sum(utterance.words.errors > 0 for utterance in utterances)
        rows.append(SpeakerRow(speaker, len(utterances), wrong, words))
    return format_table(reported.title, rows)


def format_details(reported: Reported) -> Iterator[str]:
    """Write totals and every confused word with its frequency, as sclite's dtl does.

    Args:
        reported: what to write.

    Yields:
        Pieces of the file.
    """
    yield f"DETAILED OVERALL REPORT FOR THE SYSTEM: {reported.title}\n\n"
    yield from _sentence_performance(reported)
    yield from _word_performance(reported.score.words)
    operations = [each for alignment in reported.alignments for each in alignment.operations]
    wrong = [(ref, hyp) for kind, ref, hyp in operations if kind == "S" and ref and hyp]
    yield "\n" + _word_list("CONFUSION PAIRS", (f"{ref} ==> {hyp}" for ref, hyp in wrong))
    yield "\n\n" + _word_list(
        "INSERTIONS", (hyp for kind, _, hyp in operations if kind == "I" and hyp)
    )
    yield "\n\n" + _word_list(
        "DELETIONS", (ref for kind, ref, _ in operations if kind == "D" and ref)
    )
    yield "\n\n" + _word_list("SUBSTITUTIONS", (ref for ref, _ in wrong)) + "\n"
    yield _NOTE.format(
        name="Substitution",
        side="reference",
        which="for which the recognizer supplied an incorrect word",
    )
    yield "\n" + _word_list("FALSELY RECOGNIZED", (hyp for _, hyp in wrong)) + "\n"
    yield _NOTE.format(
        name="Falsely Recognized",
        side="hypothesis",
        which="which the recognizer incorrectly substituted for a reference word",
    )


def _sentence_performance(reported: Reported) -> Iterator[str]:
    utterances = reported.score.utterances
    yield "SENTENCE RECOGNITION PERFORMANCE\n\n"
    yield f" sentences                                        {len(utterances):4d}\n"
    for name, number, end in (
        (" with errors                         ", reported.score.sentence_errors, "\n\n"),
        ("   with substitutions                ", _with(utterances, "substitutions"), "\n"),
        ("   with deletions                    ", _with(utterances, "deletions"), "\n"),
        ("   with insertions                   ", _with(utterances, "insertions"), "\n\n\n"),
    ):
        share = round_half_up(percent(number, len(utterances)), 1)
        yield f"{name}   {share:5.1f}%   ({number:4d}){end}"


def _with(utterances: Sequence[UtteranceScore], kind: str) -> int:
    return sum(getattr(utterance.words, kind) > 0 for utterance in utterances)


def _word_performance(words: ErrorCounts) -> Iterator[str]:
    yield "WORD RECOGNITION PERFORMANCE\n\n"
    for name, number, end in (
        ("Percent Total Error      ", words.errors, "\n\n"),
        ("Percent Correct          ", words.correct, "\n\n"),
        ("Percent Substitution     ", words.substitutions, "\n"),
        ("Percent Deletions        ", words.deletions, "\n"),
        ("Percent Insertions       ", words.insertions, "\n"),
    ):
        yield f"{name} =  {_share(number, words.words)}   ({number:4d}){end}"
    accuracy = 100 - percent(words.errors, words.words)
    shown = f"{round_half_up(accuracy, 1):5.1f}%" if words.words else "UNDEF%"
    yield f"Percent Word Accuracy     =  {shown}\n\n\n"
    recognized = words.correct + words.substitutions + words.insertions
    yield f"Ref. words                =           ({words.words:4d})\n"
    yield f"Hyp. words                =           ({recognized:4d})\n"
    yield f"Aligned words             =           ({recognized + words.deletions:4d})\n"


def _share(number: int, words: int) -> str:
    return f"{round_half_up(percent(number, words), 1):5.1f}%" if words else "UNDEF%"


def _word_list(title: str, entries: Iterable[str]) -> str:
    number = Counter(entries)
    ordered = sorted(number.items(), key=lambda entry: (-entry[1], entry[0].encode()))
    lines = [
        f"{title:<30}   Total                 ({len(number)})",
        f"{'':<30}   With >=  1 occurrences ({len(number)})",
        "",
        *(
            f"{place:4d}: {count:4d}  ->  {entry}"
            for place, (entry, count) in enumerate(ordered, 1)
        ),
        "     -------",
        f"     {number.total():5d}",
        "",
    ]
    return "\n".join(lines) + "\n"
