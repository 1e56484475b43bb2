"""Readers of transcripts: every format by hand, and what people's files have in them."""

import json
import os
import shutil
import subprocess

import pytest

from asr.cli import score as verb
from asr.errors import ScoringError, UsageError
from asr.manifest import Utterance, write_manifest
from asr.scoring import ErrorCounts, score_pairs
from asr.scoring.formats import FORMATS, find_format, read_hypotheses, read_references


@pytest.fixture
def file(tmp_path):
    """Writes a file as it stands and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def jsonl(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def read(path, form=None):
    return read_references([path], form)


def hypotheses(path, references, form=None):
    return read_hypotheses([path], form, references)


def test_two_column_text_is_split_at_the_first_space_or_tab(file):
    found = read(file("text", "1089-134686-0000 HE  HOPED\n1089-134686-0001\tSTEW\tFOR DINNER\n"))
    assert found.form == "text"
    assert found.texts == {
        "1089-134686-0000": "HE  HOPED",
        "1089-134686-0001": "STEW\tFOR DINNER",
    }
    assert found.details.speakers == dict.fromkeys(found.texts, "1089")


def test_an_id_alone_is_an_empty_text_and_an_empty_line_is_nothing(file):
    assert read(file("text", "u1 A\nu2\n\nu3 \n")).texts == {"u1": "A", "u2": "", "u3": ""}


def test_one_letter_texts_are_kept(file):
    assert read(file("text", "u1 A\nu2 I\nu3 O")).texts == {"u1": "A", "u2": "I", "u3": "O"}


@pytest.mark.parametrize("name", ["text", "ref.trn", "ref.jsonl"])
def test_a_byte_order_mark_and_carriage_returns_are_no_text(file, name):
    lines = {
        "text": "u1 ONE TWO\r\nu2 A\r\nu3\r\n",
        "ref.trn": "ONE TWO (u1)\r\nA (u2)\r\n(u3)\r\n",
        "ref.jsonl": '{"id": "u1", "text": "ONE TWO"}\r\n{"id": "u2", "text": "A"}\r\n'
        '{"id": "u3", "text": ""}\r\n',
    }[name]
    found = read(file(name, b"\xef\xbb\xbf" + lines.encode()))
    assert found.texts == {"u1": "ONE TWO", "u2": "A", "u3": ""}


def test_lines_end_at_line_feeds_only(file):
    text = "u1 ONE\u2028TWO\x0bTHREE\x85FOUR\nu2 FIVE\n"
    assert list(read(file("text", text)).texts) == ["u1", "u2"]


def test_an_id_that_stands_twice_is_an_error_with_both_lines(file):
    with pytest.raises(ScoringError, match="line 3: id 'u1' already stands in line 1"):
        read(file("text", "u1 ONE\nu2 TWO\nu1 ONE\n"))


def test_what_is_not_utf8_is_named_by_line(file):
    with pytest.raises(ScoringError, match="line 2: byte 0xe9 is not UTF-8"):
        read(file("text", b"u1 ONE\nu2 \xe9t\xe9\n"))


def test_a_file_without_utterances_is_an_error(file):
    with pytest.raises(ScoringError, match="read as text, holds no utterance"):
        read(file("text", "\n\n"))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ScoringError, match="there is no "):
        read(tmp_path / "none")


def test_trn_has_its_id_last_and_speakers_as_sclite_finds_them(file):
    found = read(file("x.trn", ";; a comment\nTHE CAT (sat) ON (spk-1_u1)\n(spk-1_u2)\n"))
    assert found.texts == {"spk-1_u1": "THE CAT (sat) ON", "spk-1_u2": ""}
    assert found.details.speakers == dict.fromkeys(found.texts, "spk")


def test_trn_is_found_by_its_content(file):
    assert find_format(file("ref", "ONE TWO (a-1)\nTHREE (a-2)\n")) == "trn"
    assert find_format(file("other", "u1 ONE TWO (a-1)\nu2 THREE\n")) == "text"


def test_a_line_without_id_in_trn_is_an_error(file):
    with pytest.raises(ScoringError, match="line 2 does not end with an id in parentheses"):
        read(file("x.trn", "ONE (a)\nTWO\n"))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("x.trn", "I { GOING TO / GONNA / @ } GO (a)"),
        ("x.stm", "f A s 0 1 I { GOING TO / GONNA / @ } GO"),
        ("x.ctm", "f A 0 1 <ALT_BEGIN>"),
    ],
)
def test_alternatives_are_refused_by_name(file, name, line):
    with pytest.raises(ScoringError, match=r"line 1 offers alternatives, .* are not supported"):
        read(file(name, line + "\n"))


def test_manifests_of_ours_are_read_with_all_they_tell(tmp_path):
    path = tmp_path / "test.jsonl"
    write_manifest(path, [Utterance("u1", "/audio/a.flac", 1.5, "ONE TWO", "1089")])
    found = read(path)
    assert (found.form, dict(found.texts)) == ("manifest", {"u1": "ONE TWO"})
    assert found.details.speakers == {"u1": "1089"}
    assert found.details.durations == {"u1": 1.5}
    assert found.details.audio == {"u1": "/audio/a.flac"}


def test_one_manifest_may_hold_both_sides_as_nemo_writes_it(file):
    path = file(
        "pred.json",
        jsonl(
            {"audio_filepath": "a.wav", "duration": 1, "text": "one", "pred_text": "won"},
            {"audio_filepath": "b.wav", "duration": 1, "text": "two", "pred_text": ""},
        ),
    )
    references = read(path)
    assert references.texts == {"a.wav": "one", "b.wav": "two"}
    assert hypotheses(path, references).texts == {"a.wav": "won", "b.wav": ""}


def test_a_manifest_that_lacks_one_hypothesis_does_not_get_the_reference_instead(file):
    path = file(
        "m.jsonl", jsonl({"id": "a", "text": "A", "pred_text": "A"}, {"id": "b", "text": "B"})
    )
    with pytest.raises(ScoringError, match="line 2 lacks the key 'pred_text'"):
        hypotheses(path, read(path))


def test_hypotheses_named_by_audio_path_find_their_reference(file, tmp_path):
    references = read(
        file("ref.jsonl", jsonl({"id": "u1", "audio_filepath": "a.wav", "text": "A"}))
    )
    absolute = str(tmp_path / "a.wav")
    found = hypotheses(file("hyp.jsonl", jsonl({"path": absolute, "text": "B"})), references)
    assert found.texts == {"u1": "B"}


def test_a_recording_that_failed_has_no_hypothesis(file):
    references = read(file("ref", "u1 A\nu2 B\n"))
    path = file(
        "hyp.jsonl", jsonl({"id": "u1", "text": "", "error": "no audio"}, {"id": "u2", "text": "B"})
    )
    found = hypotheses(path, references)
    assert found.texts == {"u2": "B"}
    assert "no hypothesis of 'u1', no audio" in found.notes[0]


def test_n_best_lists_and_confidences_are_read(file):
    entries = (
        {"id": "u1", "nbest": ["A B", {"text": "A"}], "confidences": [0.5, 1]},
        {
            "id": "u2",
            "nbest": ["C"],
            "words": [{"word": "C", "confidence": 0.25, "start": 1, "end": 1.5}],
        },
    )
    found = hypotheses(file("hyp.jsonl", jsonl(*entries)), read(file("ref", "u1 A\nu2 C\n")))
    assert found.texts == {"u1": "A B", "u2": "C"}
    assert found.nbest == {"u1": ("A B", "A"), "u2": ("C",)}
    assert found.details.confidences == {"u1": (0.5, 1.0), "u2": (0.25,)}
    assert found.word_times == {"u2": ((1.0, 0.5),)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', "line 1 is not JSON"),
        ("[1]", "JSON but not an object"),
        ('{"id": "a"}', "lacks the key 'text'"),
        ('{"id": 3, "text": "A"}', "'id' is 3, which is of the wrong type"),
        ('{"id": "a", "text": null}', "'text' is None"),
        ('{"id": "", "text": "A"}', "'id' is empty"),
        ('{"id": "a", "text": "A", "nbest": []}', "'nbest' is"),
    ],
)
def test_a_broken_manifest_line_is_named(file, line, message):
    with pytest.raises(ScoringError, match=message):
        read(file("m.jsonl", line + "\n"))


STM = """;; two channels, a stretch not to be scored
f1 A ann 0.00 5.00 <o,f0,female> one two three
f1 A bob 6.00 10.00 <o> four five
f1 A ann 12.00 15.00 IGNORE_TIME_SEGMENT_IN_SCORING
f1 A ann 15.00 20.00 six
f1 B cid 0.00 3.00
f2 A dan 0.00 3.00 seven
"""
CTM = """f1 B 1.0 0.5 beside 0.5
f1 A 16.0 0.3 six 0.75
f1 A 0.10 0.5 one 1
f1 A 4.8 0.4 edge 0.5
f1 A 1.00 0.5 two 0.8
f1 A 5.6 0.1 gap 0.25
f1 A 6.5 0.3 four 0.5
f1 A 13 0.3 ignored 0.5
f1 A 21 0.6 tail 0.5
"""


def test_segments_have_ids_speakers_and_durations(file):
    found = read(file("x.stm", STM))
    assert list(found.texts.items())[:2] == [
        ("f1_A_0.000_5.000", "one two three"),
        ("f1_A_6.000_10.000", "four five"),
    ]
    assert found.texts["f1_B_0.000_3.000"] == ""
    assert len(found.texts) == 5
    assert found.details.speakers["f1_A_15.000_20.000"] == "ann"
    assert found.details.durations["f1_A_6.000_10.000"] == 4.0


def test_timed_words_are_joined_to_segments_by_their_middles(file):
    references = read(file("x.stm", STM))
    found = hypotheses(file("x.ctm", CTM), references)
    assert found.texts == {
        "f1_A_0.000_5.000": "one two",
        "f1_A_6.000_10.000": "edge gap four",
        "f1_A_15.000_20.000": "six tail",
        "f1_B_0.000_3.000": "beside",
    }
    assert found.details.confidences["f1_A_6.000_10.000"] == (0.5, 0.25, 0.5)
    assert found.word_times["f1_A_15.000_20.000"] == ((16.0, 0.3), (21.0, 0.6))
    assert "3 words lie in no segment" in found.notes[0]
    assert "1 words lie in segments that are not to be scored" in found.notes[1]
    # Of f2 the ctm has not a word: nobody has recognised it at all.
    assert score_pairs(references.texts, found.texts).missing == ("f2_A_0.000_3.000",)


def test_stm_and_ctm_are_joined_as_sclite_joins_them(file, tmp_path):
    program = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
    if program is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk)")
    # sclite wants files and channels in the same order, and words on all of them.
    file("ref.stm", STM.replace("f2 A dan 0.00 3.00 seven\n", ""))
    file(
        "hyp.ctm", "".join(sorted(CTM.splitlines(True), key=lambda x: (x[:4], float(x.split()[2]))))
    )
    command = [
        program,
        *("-r", "ref.stm", "stm", "-h", "hyp.ctm", "ctm", "-s", "-o", "pra", "stdout"),
    ]
    output = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split() for line in output.splitlines() if line.startswith("Scores:")]
    theirs = sorted(tuple(map(int, line[5:])) for line in lines)
    references = read(tmp_path / "ref.stm")
    found = hypotheses(tmp_path / "hyp.ctm", references)
    score = score_pairs(references.texts, found.texts, "sclite")
    ours = sorted((w.correct, w.substitutions, w.deletions, w.insertions) for w in _words(score))
    assert ours == theirs


def _words(score):
    return [utterance.words for utterance in score.utterances]


def test_words_of_an_unknown_recording_are_an_error(file):
    with pytest.raises(ScoringError, match=r"no reference segment has: f9 A"):
        hypotheses(file("x.ctm", "f9 A 0 1 one\n"), read(file("x.stm", STM)))


def test_a_ctm_without_segments_is_one_utterance_a_file(file):
    references = read(file("text", "u1 A B\nu2 C\n"))
    found = hypotheses(file("x.ctm", "u2 1 0 1 C\nu1 1 1.5 1 B\nu1 1 0 1 A\n"), references)
    assert found.texts == {"u2": "C", "u1": "A B"}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("x.stm", "f A s 0", "has 4 fields; expected FILE CHANNEL SPEAKER"),
        ("x.stm", "f A s zero 1 one", "'zero' stands where a number is expected"),
        ("x.stm", "f A s 2 1 one", "ends at 1.0 before it starts at 2.0"),
        ("x.ctm", "f A 0 one", "has 4 fields; expected FILE CHANNEL START"),
        ("x.ctm", "f A 0 nan one", "'nan' stands where a number"),
    ],
)
def test_a_broken_line_with_times_is_named(file, name, line, message):
    with pytest.raises(ScoringError, match=message):
        read(file(name, line + "\n"))


def test_a_tree_of_librispeech_is_read_whole(file, tmp_path):
    file("dev/1089/134686/1089-134686.trans.txt", "1089-134686-0000 A\n1089-134686-0001 B\n")
    file("test/12/3/12-3.trans.txt", "12-3-0000 C\n")
    file("test/12/3/12-3-0000.flac", b"")
    found = read(tmp_path)
    assert found.form == "librispeech"
    assert found.texts == {"1089-134686-0000": "A", "1089-134686-0001": "B", "12-3-0000": "C"}
    assert set(found.details.parts.values()) == {"dev", "test"}
    assert found.details.speakers["12-3-0000"] == "12"
    assert found.details.audio == {"12-3-0000": str(tmp_path / "test/12/3/12-3-0000.flac")}


def test_librispeech_itself_is_read(speech):
    found = read(speech / "LibriSpeech")
    assert len(found.texts) == 1041
    assert len(set(found.details.speakers.values())) == 16
    assert set(found.details.parts.values()) == {"dev-clean"}
    assert found.details.audio.keys() == found.texts.keys()


def test_plain_lines_are_read_on_request_only_and_joined_by_number(file):
    first = file("a.txt", "THE CAT\n\nTHE DOG\n")
    with pytest.raises(ScoringError, match="lines without ids are read with --format lines"):
        read(first)
    references = read(first, "lines")
    assert list(references.texts.values()) == ["THE CAT", "", "THE DOG"]
    found = hypotheses(file("b.txt", "THE CAT\r\nUM\r\nTHE DOG"), references, "lines")
    assert score_pairs(references.texts, found.texts).words == ErrorCounts(insertions=1, correct=4)


def test_plain_lines_of_unequal_number_are_refused(file):
    references = read(file("a.txt", "A\nB\n"), "lines")
    with pytest.raises(ScoringError, match="2 reference lines and 1 hypothesis lines"):
        hypotheses(file("b.txt", "A\n"), references, "lines")


def test_plain_lines_are_not_joined_to_ids(file):
    with pytest.raises(ScoringError, match="lines can only be joined to lines"):
        hypotheses(file("b.txt", "A\n"), read(file("a.txt", "u1 A\n")), "lines")


def test_words_taken_for_ids_are_warned_of(file):
    assert (
        "such as 'HELLO', were taken for utterance ids"
        in (read(file("a.txt", "HELLO WORLD\nGOOD MORNING\n")).notes[0])
    )


def test_letters_for_ids_are_not_warned_of(file):
    assert read(file("a.txt", "a HELLO WORLD\nb GOOD MORNING\n")).notes == ()


def test_a_pipe_needs_its_format(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe, which can be read only once"):
        read(tmp_path / "pipe")


def test_several_files_are_the_parts_of_a_corpus(file):
    paths = [file("clean.txt", "u1 A\n"), file("other.txt", "u2 B\n")]
    found = read_references(paths)
    assert found.texts == {"u1": "A", "u2": "B"}
    assert found.details.parts == {"u1": "clean.txt", "u2": "other.txt"}


def test_an_id_in_two_files_is_an_error(file):
    paths = [file("clean.txt", "u1 A\n"), file("other.txt", "u1 B\n")]
    with pytest.raises(ScoringError, match=r"other.txt has ids that .*clean.txt has too: u1"):
        read_references(paths)


def test_a_format_may_be_forced(file):
    path = file("x.trn", "ONE TWO (a)\n")
    assert read(path, "text").texts == {"ONE": "TWO (a)"}
    with pytest.raises(UsageError, match="no format 'srt'; there are manifest, text, trn"):
        read(path, "srt")


def test_the_command_line_offers_every_format():
    assert verb.FORMATS == FORMATS
