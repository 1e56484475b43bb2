"""Output formats: committed expectations, the JSON Schema, and what other readers make of them."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import jsonschema
import pytest

from asr.decoding.words import Word
from asr.errors import UsageError
from asr.output import FORMATS, SUFFIXES, format_named, suffix_of
from asr.output.documents import SCHEMA_PATH
from asr.output.names import Named, distinct_names
from asr.scoring.formats import read_references
from asr.scoring.timed import read_ctm
from asr.segments import DEFAULT_SHAPE, Segment, Shape
from asr.transcript import Transcript

WORDS = (
    Word("HELLO", 0.2, 0.52, 0.98),
    Word("BIG", 0.6, 0.75, 0.5),
    Word("WORLD", 3.0, 3.4, 1.0),
)
MIXED = Transcript(
    path="talks/a b.flac",
    text="HELLO BIG WORLD",
    duration_seconds=4.0,
    decoded_seconds=4.0,
    log_prob=-1.5,
    warnings=("talks/a b.flac lacks nothing",),
    segments=(Segment(WORDS[:2]), Segment(WORDS[2:])),
    declared_seconds=4.0,
    id="talks/a b",
    model="model",
)
SPLIT = replace(
    MIXED,
    text="HELLO BIG\nWORLD",
    segments=(Segment(WORDS[:2], "1"), Segment(WORDS[2:], "2")),
    channel="split",
)
EMPTY = replace(MIXED, text="", segments=())

EXPECTED = {
    "txt": "HELLO BIG WORLD\n",
    "srt": "1\n00:00:00,200 --> 00:00:01,033\nHELLO BIG\n\n"
    "2\n00:00:03,000 --> 00:00:03,833\nWORLD\n",
    "vtt": "WEBVTT\n\n00:00:00.200 --> 00:00:01.033\nHELLO BIG\n\n"
    "00:00:03.000 --> 00:00:03.833\nWORLD\n",
    "tsv": "start\tend\ttext\n200\t750\tHELLO BIG\n3000\t3400\tWORLD\n",
    "ctm": "talks/a%20b 1 0.200 0.320 HELLO 0.9800\ntalks/a%20b 1 0.600 0.150 BIG 0.5000\n"
    "talks/a%20b 1 3.000 0.400 WORLD 1.0000\n",
    "stm": "talks/a%20b 1 unknown 0.200 0.750 HELLO BIG\ntalks/a%20b 1 unknown 3.000 3.400 WORLD\n",
    "trn": "HELLO BIG WORLD (talks/a%20b)\n",
}
EXPECTED_SPLIT = {
    "txt": "channel 1: HELLO BIG\nchannel 2: WORLD\n",
    "srt": "1\n00:00:00,200 --> 00:00:01,033\n[1] HELLO BIG\n\n"
    "2\n00:00:03,000 --> 00:00:03,833\n[2] WORLD\n",
    "vtt": "WEBVTT\n\n00:00:00.200 --> 00:00:01.033\n<v channel 1>HELLO BIG\n\n"
    "00:00:03.000 --> 00:00:03.833\n<v channel 2>WORLD\n",
    "tsv": "start\tend\ttext\tchannel\n200\t750\tHELLO BIG\t1\n3000\t3400\tWORLD\t2\n",
    "ctm": "talks/a%20b 1 0.200 0.320 HELLO 0.9800\ntalks/a%20b 1 0.600 0.150 BIG 0.5000\n"
    "talks/a%20b 2 3.000 0.400 WORLD 1.0000\n",
    "trn": "HELLO BIG (talks/a%20b-1)\nWORLD (talks/a%20b-2)\n",
}


def written(name, transcript, shape=DEFAULT_SHAPE):
    return format_named(name, transcript, shape)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_format_is_as_its_readers_expect_it(name):
    assert written(name, MIXED) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED_SPLIT)
def test_separate_channels_are_labelled(name):
    assert written(name, SPLIT) == EXPECTED_SPLIT[name]


def test_silence_has_a_file_in_every_format():
    assert {name: written(name, EMPTY) for name in EXPECTED} == {
        "txt": "\n",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
        "ctm": "",
        "stm": "",
        "trn": "(talks/a%20b)\n",
    }


@pytest.mark.parametrize("transcript", [MIXED, SPLIT, EMPTY, replace(MIXED, path="caf\udce9.wav")])
@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_fits_its_schema(name, transcript):
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = written(name, transcript)
    document = json.loads(content)
    jsonschema.validate(document, schema)
    content.encode("utf-8")
    assert name == "json" or content.count("\n") == 1
    # What programs take out of whisper's files.
    assert document["text"] == transcript.text
    assert [s["text"] for s in document["segments"]] == [s.text for s in transcript.segments]
    words = [word for segment in document["segments"] for word in segment["words"]]
    assert [(w["word"], w["start"], w["end"], w["probability"]) for w in words] == [
        (w.text, w.start, w.end, w.probability) for w in transcript.words
    ]


def test_a_document_that_lacks_a_key_does_not_fit_the_schema():
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    for key in schema["required"]:
        document = json.loads(written("json", MIXED))
        del document[key]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema)


@pytest.mark.parametrize("name", ["trn", "jsonl"])
def test_our_own_scoring_reads_what_we_write(tmp_path, name):
    path = tmp_path / f"hyp.{name}"
    path.write_text(written(name, replace(MIXED, id="a")), encoding="utf-8")
    assert read_references([path]).texts == {"a": "HELLO BIG WORLD"}


def test_our_own_scoring_reads_words_with_times_and_confidences(tmp_path):
    path = tmp_path / "hyp.ctm"
    path.write_text(written("ctm", replace(MIXED, id="a")), encoding="utf-8")
    found = read_ctm(path, {})
    assert found.texts == {"a": "HELLO BIG WORLD"}
    assert found.word_times["a"] == ((0.2, 0.32), (0.6, 0.15), (3.0, 0.4))
    assert found.details.confidences == {"a": (0.98, 0.5, 1.0)}


def test_a_cue_stands_long_enough_to_be_read_and_never_into_the_next():
    long_text = [Word("W" * 20, 1.0, 1.1, 1.0), Word("V" * 14, 1.1, 1.2, 1.0)]
    crowded = replace(
        MIXED, segments=(Segment(tuple(long_text)), Segment((Word("NEXT", 2.0, 2.2, 1.0),)))
    )
    assert re.findall(r"--> (\S+)", written("srt", crowded)) == ["00:00:01,920", "00:00:02,833"]
    alone = replace(MIXED, segments=crowded.segments[:1])
    # 35 characters at 17 a second.
    assert re.findall(r"--> (\S+)", written("srt", alone)) == ["00:00:03,059"]


def test_subtitles_are_wrapped_and_escaped():
    words = tuple(Word(text, i, i + 0.9, 1.0) for i, text in enumerate(["A&B", "<C>", "DDDDD"]))
    transcript = replace(MIXED, segments=(Segment(words),))
    assert "A&B <C>\nDDDDD\n" in written("srt", transcript, Shape(8))
    assert "A&amp;B &lt;C&gt;\nDDDDD\n" in written("vtt", transcript, Shape(8))


def test_hours_are_counted_past_a_day():
    late = replace(MIXED, segments=(Segment((Word("LATE", 90061.0014, 90062.0, 1.0),)),))
    assert "25:01:01,001 --> 25:01:02,000" in written("srt", late)


@pytest.mark.parametrize("transcript", [MIXED, SPLIT, EMPTY])
def test_the_tiers_of_a_textgrid_cover_the_recording_without_gap_or_overlap(transcript):
    content = written("textgrid", transcript)
    assert content.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    tiers = content.split("    item [")[1:]
    assert len(tiers) == int(re.search(r"^size = (\d+)", content, re.M)[1])
    assert len(tiers) == (4 if transcript is SPLIT else 2)
    for tier in tiers:
        spans = re.findall(
            r"intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)\s+text = \"(.*)\"", tier
        )
        assert len(spans) == int(re.search(r"intervals: size = (\d+)", tier)[1])
        assert float(spans[0][0]) == 0
        assert float(spans[-1][1]) == 4.0
        assert all(float(a[1]) == float(b[0]) for a, b in pairwise(spans))
        assert all(float(start) < float(end) for start, end, _ in spans)
    said = " ".join(re.findall(r'text = "(.+)"', content))
    assert sorted(said.split()) == sorted(2 * transcript.text.split())


def test_a_textgrid_doubles_quotes_and_parts_words_without_length():
    words = (Word('"A"', 1.0, 1.0, 1.0), Word("B", 1.0, 1.0, 1.0))
    content = written("textgrid", replace(MIXED, segments=(Segment(words),)))
    assert 'xmax = 1.001\n            text = """A"""' in content
    assert 'xmin = 1.001\n            xmax = 1.002\n            text = "B"' in content


@pytest.mark.parametrize("name", FORMATS)
def test_a_transcript_is_saved_under_the_endings_of_all_formats(tmp_path, name):
    path = tmp_path / f"a.{suffix_of(name)}"
    MIXED.save(path)
    assert path.read_text(encoding="utf-8") == written(name, MIXED)
    assert set(SUFFIXES) < set(FORMATS)


def test_a_transcript_can_be_cut_anew():
    shape = Shape(max_pause_seconds=5.0)
    assert [segment.text for segment in MIXED.shaped(shape).segments] == ["HELLO BIG WORLD"]
    assert MIXED.shaped(shape).words == MIXED.words
    assert SPLIT.shaped(shape).segments == SPLIT.segments


def test_saving_without_a_format_or_a_transcript_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no output format 'doc'"):
        MIXED.save(tmp_path / "a.doc")
    with pytest.raises(UsageError, match="cannot be read"):
        replace(MIXED, error="x cannot be read").save(tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ([("d/a.mp3", "a.mp3"), ("d/b.wav", "b.wav")], ["a", "b"]),
        ([("d/x/a.mp3", "x/a.mp3"), ("d/y/a.mp3", "y/a.mp3")], ["x/a", "y/a"]),
        ([("d/a.mp3", "a.mp3"), ("d/a.wav", "a.wav")], ["a.mp3", "a.wav"]),
        ([("d/a.mp3", "a.mp3"), ("e/a.mp3", "a.mp3"), ("c.wav", "c.wav")], ["d/a", "e/a", "c"]),
        (
            [("d/a.mp3", "a.mp3"), ("e/a.mp3", "a.mp3"), ("e/a.wav", "a.wav")],
            ["d/a", "e/a", "a.wav"],
        ),
        ([("a.mp3", "a.mp3"), ("a.wav", "a.wav"), ("a.mp3.ogg", "a.mp3.ogg")], None),
        ([("asr-run.wav", "asr-run.wav")], ["asr-run-2"]),
        ([("/x/.wav", ".wav"), ("a.b.wav", "a.b.wav")], [".wav", "a.b"]),
    ],
)
def test_every_input_has_an_output_of_its_own(inputs, names):
    found, notes = distinct_names([Named(path, relative) for path, relative in inputs])
    assert len(set(found)) == len(inputs)
    assert names is None or found == names
    plain = [relative.rsplit(".", 1)[0] or relative for _, relative in inputs]
    assert len(notes) == sum(a != b for a, b in zip(found, plain, strict=True))


def test_ids_of_manifests_never_leave_the_output_folder():
    ids = ["/etc/passwd", "../../x", "a/./b", "a.b", ".."]
    found, _ = distinct_names([Named(f"{i}.wav", name, True) for i, name in enumerate(ids)])
    assert found == ["etc/passwd", "x", "a/b", "a.b", "recording"]
