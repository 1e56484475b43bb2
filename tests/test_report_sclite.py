"""A report's files for sclite: they are what sclite writes, and can be read again."""

import random
import re
import shutil
import subprocess

import pytest
from reports import (
    CONFIDENCES,
    DURATIONS,
    HYPOTHESES,
    NAMES,
    REFERENCES,
    SCORE,
    SPEAKERS,
    write,
)

from asr.scoring.alignment import ErrorCounts, align
from asr.scoring.details import Details
from asr.scoring.formats import read_hypotheses, read_references
from asr.scoring.sclite_files import format_operations, format_transcripts
from asr.scoring.sclite_table import SpeakerRow, format_table, percent, round_half_up
from asr.scoring.score import score_pairs
from asr.scoring.transcripts import Segment


@pytest.fixture
def report(tmp_path):
    """Writes a report and gives its folder."""

    def run(*words, **more):
        assert write(tmp_path / "out", *words, **more)
        return tmp_path / "out"

    return run


def test_transcripts_are_read_again(report):
    folder = report()
    references = read_references([folder / "ref.trn"])
    assert {key: text.split() for key, text in references.texts.items()} == {
        key: text.split() for key, text in REFERENCES.items()
    }
    hypotheses = read_hypotheses([folder / "hyp.trn"], None, references)
    assert hypotheses.texts["19-b-0001"] == ""
    assert hypotheses.texts["7-a-0001"] == HYPOTHESES["7-a-0001"]
    assert references.details.speakers == SPEAKERS


def test_an_id_with_blanks_and_parentheses_is_one_word_in_a_trn():
    (line,) = format_transcripts([("a (b) 100%", " THE  CAT ")])
    assert line == "THE CAT (a%20%28b%29%20100%25)\n"


def test_segments_hold_durations_and_are_read_again(report):
    folder = report()
    segments = read_references([folder / "ref.stm"])
    assert list(segments.details.durations.values()) == list(DURATIONS.values())
    assert list(segments.details.speakers.values()) == list(SPEAKERS.values())
    assert [text.split() for text in segments.texts.values()] == [
        text.split() for text in REFERENCES.values()
    ]


def test_words_whose_times_are_known_are_read_again_from_ctm_and_stm(report):
    segments, times, start = {}, {}, 0.0
    for identity, seconds in DURATIONS.items():
        segments[identity] = Segment("tape", "A", start, start + seconds)
        words = HYPOTHESES.get(identity, "").split()
        times[identity] = [(start + 0.1 + 0.05 * place, 0.04) for place in range(len(words))]
        start += seconds
    folder = report(segments=segments, word_times=times)
    references = read_references([folder / "ref.stm"])
    assert list(references.segments.values()) == list(segments.values())
    hypotheses = read_hypotheses([folder / "hyp.ctm"], None, references)
    assert [text.split() for text in hypotheses.texts.values()] == [
        HYPOTHESES.get(identity, "").split() for identity in REFERENCES
    ]
    assert list(hypotheses.details.confidences.values()) == list(CONFIDENCES.values())
    assert "no hyp.ctm" not in (folder / "report.html").read_text("utf-8")


def test_times_that_are_not_known_are_not_invented(report):
    folder = report()
    assert "no hyp.ctm" in (folder / "report.html").read_text("utf-8")
    lacking = {identity: DURATIONS[identity] for identity in list(DURATIONS)[1:]}
    report(Details(durations=lacking))
    assert {path.name for path in folder.iterdir()} == NAMES - {"ref.stm"}
    assert "not known of 1 of the 5 utterances" in (folder / "report.json").read_text("utf-8")


def test_alignments_are_laid_out_as_sclite_does(report):
    text = (report() / "report.pra").read_text("utf-8")
    assert "    0:  7\n    1:  19\n\nSpeaker sentences   0:  7   #utts: 3\n" in text
    assert (
        "id: (7-a-0002)\nScores: (#C #S #D #I) 0 0 0 1\nAttributes: Case_sensitve \n"
        "REF:  ** \nHYP:  OH \nEval: I  \n\n"
    ) in text
    assert "REF:  A DOG \nHYP:  * *** \nEval: D D   \n" in text
    assert "REF:  ÉTÉ 你 好 \nHYP:  ÉTÉ 你 好 \nEval:           \n" in text


@pytest.fixture
def sclite():
    """NIST's program, where it is installed."""
    program = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
    if program is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk)")
    return program


def draw_words(number):
    return " ".join(random.choices(["THE", "A", "CAT", "SAT", "ON"], k=number))


@pytest.mark.parametrize("title", ["hyp.trn", f"a {'very ' * 16}long name"])
@pytest.mark.parametrize("speakers", [1, 7])
def test_the_files_are_those_that_sclite_writes(tmp_path, sclite, speakers, title):
    random.seed(speakers)
    lengths = {f"{place % speakers}-{place:03d}": random.randint(1, 9) for place in range(150)}
    lengths["0-long"] = 600  # more than sclite writes in a line
    said = {identity: draw_words(length) for identity, length in lengths.items()}
    heard = {identity: draw_words(length - 1) for identity, length in lengths.items()}
    write(tmp_path, Details(), score_pairs(said, heard, "sclite"), title)
    command = [sclite, "-s", "-e", "utf-8", "-i", "spu_id", "-r", "ref.trn", "trn", "-h"]
    command += ["hyp.trn", "trn", title, "-o", "sum", "pra", "dtl", "-O", ".", "-n", "sclite"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for kind in ("sys", "pra", "dtl"):
        theirs = (tmp_path / f"sclite.{kind}").read_text("utf-8")
        # Newer versions of sclite spell this right.
        theirs = theirs.replace("with substitions   ", "with substitutions ")
        assert (tmp_path / f"report.{kind}").read_text("utf-8") == theirs


def test_a_long_alignment_is_broken_into_lines():
    words = [f"WORD{number:05d}" for number in range(1000)]
    text = "".join(format_operations(align(words, words[:-1]).operations))
    lines = [line.rstrip("\n") for line in text.split("\n")]
    assert max(map(len, lines)) <= 1000
    assert lines[3:5] == ["", ">> REF:  " + lines[4].removeprefix(">> REF:  ")]
    said = " ".join(line.split("REF:  ")[1] for line in lines if "REF:" in line)
    assert said.split() == words


def test_details_count_every_error(report):
    text = (report() / "report.dtl").read_text("utf-8")
    assert f"({SCORE.words.errors:4d})" in re.search(r"Percent Total Error.*", text)[0]
    listed = {
        title: int(re.search(rf"{title} .*?-------\n +(\d+)", text, re.DOTALL)[1])
        for title in ("CONFUSION PAIRS", "INSERTIONS", "DELETIONS")
    }
    words = SCORE.words
    assert list(listed.values()) == [words.substitutions, words.insertions, words.deletions]


def test_speakers_are_known_or_found_in_ids_as_sclite_does(report):
    score = score_pairs({"a_b-c_d": "A", "a_b": "A", "ab": "A", "_x": "A"}, {})
    table = (report(Details(speakers={"ab": "Anna"}), score=score) / "report.sys").read_text()
    assert re.findall(r"\| (\S+) +\|    1", table) == ["a_b", "a", "Anna", "_x"]


def test_speakers_without_words_are_counted_and_not_averaged(report):
    score = score_pairs({"a-1": "A B", "b-1": ""}, {"a-1": "A C", "b-1": "A B"})
    table = (report(Details(), score=score) / "report.sys").read_text()
    assert re.search(
        r"\| b +\|    1      0 \|    0\*     0\*     0\*     2\*     2\* 100.0 \|", table
    )
    assert re.search(r"\|  Mean  \|  1.0    1.0 \| 50.0\+  50.0\+", table)
    assert "Speaker(s) with no reference data is ignored" in table


def test_percents_are_rounded_as_sclite_does():
    assert f"{round_half_up(percent(1, 16), 1):.1f}" == "6.3"  # 6.25
    assert round_half_up(-6.25, 1) == -6.3
    assert percent(1, 0) == 0


def test_a_system_table_spreads_under_a_long_title():
    rows = [SpeakerRow("7", 2, 1, ErrorCounts(1, 0, 0, 9))]
    for title in ("short", "a system's name that is longer than all columns of the table together"):
        lines = format_table(title, rows).splitlines()[5:]
        assert len({len(line) for line in lines}) == 1
        assert title in lines[1]
