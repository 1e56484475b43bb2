"""What a user names is found whole, each file once, and what cannot be used is told."""

import io
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from asr.errors import UsageError
from asr.inputs import Inputs, find_inputs


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Find inputs from within a folder of files that are only named like recordings."""
    monkeypatch.chdir(tmp_path)
    for name in ("rec/a.wav", "rec/deep/b.MP3", "rec/deep/c.mp4", "other/a.wav", "top.flac"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"sound")
    with ExitStack() as stack:
        yield lambda *words: find_inputs(words, stack)


def names(inputs: Inputs) -> dict[str, str]:
    return {each.shown: each.name for each in inputs.recordings}


def test_a_file_is_taken_whatever_its_ending(find):
    Path("speech.dat").write_bytes(b"sound")
    assert names(find("speech.dat", "top.flac", "missing.wav")) == {
        "speech.dat": "speech",
        "top.flac": "top",
        "missing.wav": "missing",
    }


def test_a_folder_is_searched_with_all_below_it_and_mirrored(find):
    Path("rec/notes.txt").write_text("no sound")
    Path("rec/._a.wav").write_bytes(b"a Mac's shadow")
    found = find("rec")
    assert names(found) == {
        "rec/a.wav": "a",
        "rec/deep/b.MP3": "deep/b",
        "rec/deep/c.mp4": "deep/c",
    }
    assert [each.shown for each in found.recordings] == sorted(names(found))
    (note,) = found.notes
    assert "no recordings by ending and first bytes: 2" in note
    assert ".txt 1" in note
    assert not found.problems


@pytest.mark.parametrize(
    "start",
    [
        *(b"RIFF....WAVE", b"fLaC", b"OggS", b"ID3\x04", b"\0\0\0\x20ftypM4A "),
        *(b"\x1a\x45\xdf\xa3", b"NIST_1A\n"),
    ],
)
def test_in_a_folder_a_wrong_ending_does_not_hide_a_recording(find, start):
    Path("rec/really.doc").write_bytes(start + bytes(20))
    assert names(find("rec"))["rec/really.doc"] == "really"


def test_a_folder_without_recordings_is_a_problem(find):
    Path("letters").mkdir()
    Path("letters/a.txt").write_text("Dear Sir")
    found = find("letters", "top.flac")
    assert names(found) == {"top.flac": "top"}
    assert found.problems == (("letters", "the folder letters holds no audio or video"),)


def test_a_circle_of_links_is_walked_once_and_told(find):
    Path("rec/deep/back").symlink_to(Path("rec").absolute())
    Path("rec/gone.wav").symlink_to("nowhere.wav")
    found = find("rec")
    assert set(names(found)) == {*("rec/a.wav", "rec/gone.wav", "rec/deep/b.MP3", "rec/deep/c.mp4")}
    assert any("rec/deep/back leads back" in note for note in found.notes)


def test_a_pattern_is_expanded_and_mirrors_what_it_leaves_open(find):
    assert names(find("*/a.wav")) == {"other/a.wav": "other/a", "rec/a.wav": "rec/a"}
    assert names(find("rec/**")) == {
        "rec/a.wav": "a",
        "rec/deep/b.MP3": "deep/b",
        "rec/deep/c.mp4": "deep/c",
    }
    assert find("*.ogg").problems == (("*.ogg", "no file is named *.ogg, and nothing matches it"),)


def test_a_file_that_is_named_like_a_pattern_is_no_pattern(find):
    Path("take [1].wav").write_bytes(b"sound")
    assert names(find("take [1].wav")) == {"take [1].wav": "take [1]"}


def test_a_list_names_files_folders_and_patterns(find):
    Path("list.txt").write_bytes(b"top.flac\r\n\nrec/deep\nother/*.wav\ncaf\xe9.wav\n")
    found = find("@list.txt")
    assert names(found) == {
        "top.flac": "top",
        "rec/deep/b.MP3": "b",
        "rec/deep/c.mp4": "c",
        "other/a.wav": "a",
        os.fsdecode(b"caf\xe9.wav"): os.fsdecode(b"caf\xe9"),
    }
    (problem,) = find("@gone.txt").problems
    assert "the list gone.txt cannot be read: No such file" in problem[1]


def test_files_that_share_a_name_are_told_apart_by_their_folders(find):
    found = find("rec/a.wav", "other/a.wav")
    assert names(found) == {"rec/a.wav": "rec/a", "other/a.wav": "other/a"}
    assert len(found.notes) == 2


def test_a_file_named_twice_is_transcribed_once(find):
    Path("link.wav").symlink_to("top.flac")
    found = find("top.flac", "./top.flac", "link.wav")
    assert names(found) == {"top.flac": "top"}
    assert len(found.notes) == 2


def test_a_manifest_gives_paths_and_ids(find):
    lines = [
        {"audio_filepath": "top.flac", "id": "spk/one"},
        {"audio_filepath": str(Path("rec/a.wav").absolute()), "duration": 1.0, "text": "X"},
        {"audio_filepath": "other/a.wav", "offset": 3.5},
        {"path": "top.flac"},
        ["top.flac"],
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    Path("m.jsonl").write_text("\ufeff" + text + "{broken\n\n", encoding="utf-8")
    found = find("m.jsonl")
    assert [each.name for each in found.recordings] == ["spk/one", "a"]
    assert [Path(each.path).exists() for each in found.recordings] == [True, True]
    problems = dict(found.problems)
    assert len(problems) == 4
    assert "from 3.5 s; parts cannot be transcribed" in problems["m.jsonl, line 3"]
    assert "no JSON" in problems["m.jsonl, line 6"]


def test_standard_input_becomes_a_file_that_does_not_stay(find, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"sound" * 1000)))
    with ExitStack() as stack:
        (found,) = find_inputs(["-"], stack).recordings
        assert (found.shown, found.name) == ("-", "stdin")
        assert Path(found.path).read_bytes() == b"sound" * 1000
    assert not Path(found.path).exists()
    with pytest.raises(UsageError, match="named twice"):
        find("-", "-")
