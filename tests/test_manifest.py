"""Manifests: what is written is read back, and what is wrong is named with file and line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr.manifest
from asr.errors import ManifestError
from asr.manifest import CompactUtterances, Utterance, read_manifest, write_manifest

GOOD = {"id": "a", "audio_filepath": "/a.flac", "duration": 1.5, "text": "HELLO"}
ONE = Utterance("a", "/a.flac", 1.5, "HELLO")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
UTTERANCES = st.lists(
    st.builds(
        Utterance,
        id=TEXT.filter(bool),
        audio_filepath=TEXT.map(lambda name: f"/{name}"),
        duration=st.floats(0, 1e6),
        text=TEXT,
        speaker=TEXT,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda utterance: utterance.id,
)


def write_lines(path, *entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@settings(deadline=None)
@given(utterances=UTTERANCES)
def test_a_manifest_is_read_back_as_written(tmp_path_factory, utterances):
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    write_manifest(path, utterances)
    assert read_manifest(path) == utterances


def test_every_line_is_json_with_the_keys_of_nemo(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [ONE, Utterance("b", "/b.flac", 2, "CAF\u00c9", "x")])
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert entries[0] == GOOD | {"speaker": ""}
    assert "CAF\u00c9" in path.read_text(encoding="utf-8")


def test_relative_paths_count_from_the_manifest(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    write_lines(tmp_path / "sub" / "m.jsonl", GOOD | {"audio_filepath": "wav/a.flac"})
    monkeypatch.chdir(tmp_path)
    assert read_manifest("sub/m.jsonl")[0].audio_filepath == str(tmp_path / "sub/wav/a.flac")


def test_an_entry_without_id_goes_by_its_path(tmp_path):
    entry = {key: value for key, value in GOOD.items() if key != "id"}
    assert read_manifest(write_lines(tmp_path / "m.jsonl", entry))[0].id == "/a.flac"


def test_keys_of_other_tools_are_let_be(tmp_path):
    assert read_manifest(write_lines(tmp_path / "m.jsonl", GOOD | {"offset": 0.0})) == [ONE]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_files_from_windows_are_read(tmp_path, mark, end):
    path = tmp_path / "m.jsonl"
    lines = [json.dumps(GOOD).encode(), b"", json.dumps(GOOD | {"id": "b"}).encode()]
    path.write_bytes(mark + end.join(lines) + end)
    assert [utterance.id for utterance in read_manifest(path)] == ["a", "b"]


def test_line_separators_within_a_text_do_not_break_a_line(tmp_path):
    line = json.dumps(GOOD | {"text": "A\u2028B"}, ensure_ascii=False)
    assert read_manifest(write_lines(tmp_path / "m.jsonl", line))[0].text == "A\u2028B"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("hello", "is not JSON"),
        ('{"id": "a"', "is not JSON"),
        ("[1]", "not an object"),
        ({"id": "x", "duration": 1.0, "text": ""}, "lacks the key 'audio_filepath'"),
        ({"id": "x", "audio_filepath": "/x", "text": ""}, "lacks the key 'duration'"),
        ({"id": "x", "audio_filepath": "/x", "duration": 1.0}, "lacks the key 'text'"),
        (GOOD | {"id": 7}, "'id' is 7; expected a string"),
        (GOOD | {"id": ""}, "'id' is empty"),
        (GOOD | {"audio_filepath": ""}, "'audio_filepath' is empty"),
        (GOOD | {"duration": "1.5"}, "'duration' is '1.5'; expected a number"),
        (GOOD | {"duration": True}, "'duration' is True; expected a number"),
        (GOOD | {"duration": -1}, "duration is -1.0; expected seconds"),
        (json.dumps(GOOD | {"duration": float("nan")}), "duration is nan"),
        (json.dumps(GOOD | {"duration": float("inf")}), "duration is inf"),
        (GOOD | {"text": None}, "'text' is None; expected a string"),
        (GOOD | {"speaker": 3}, "'speaker' is 3; expected a string"),
        (GOOD | {"id": "first"}, "id 'first' already stands in line 1"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, line, complaint):
    path = write_lines(tmp_path / "m.jsonl", GOOD | {"id": "first"}, "", line)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert f"{path}, line 3" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe\x00"])
def test_a_missing_empty_or_binary_manifest_is_refused(tmp_path, content):
    path = tmp_path / "m.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.jsonl"):
        read_manifest(path)


def test_a_failed_write_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [ONE])

    def broken():
        yield Utterance("b", "/b", 1.0, "")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, broken())
    assert read_manifest(path) == [ONE]
    assert list(tmp_path.iterdir()) == [path]


def test_many_lines_at_once_are_read_as_single_ones_are(tmp_path, monkeypatch):
    lines = [
        json.dumps(
            {"id": f"u{n}", "audio_filepath": f"/a/{n}.flac", "duration": n / 7, "text": "É"}
        )
        for n in range(1, 50)
    ]
    # Whole numbers, relative paths and unknown keys are read too.
    lines[7] = '{"id": "x", "audio_filepath": "b.flac", "duration": 2, "text": "", "lang": "en"}'
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    found = []
    for at_once in (1, 10, 1000):
        monkeypatch.setattr(asr.manifest, "_AT_ONCE", at_once)
        found.append(read_manifest(path))
    assert found[0] == found[1] == found[2]
    assert found[0][7] == Utterance("x", str(tmp_path / "b.flac"), 2.0, "")
    assert [u.duration for u in found[0][:7]] == [n / 7 for n in range(1, 8)]


@pytest.mark.parametrize("bad", ["{", '{"id": "a"}, {"id": "b"}', "[1]", '{"id": 3}', "7, 8"])
def test_a_broken_line_among_many_is_named(bad, tmp_path):
    good = '{"id": "u%d", "audio_filepath": "/a", "duration": 1.5, "text": "A"}'
    lines = [good % n for n in range(20)]
    lines[11] = bad
    (tmp_path / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"m\.jsonl, line 12"):
        read_manifest(tmp_path / "m.jsonl")


def test_compact_utterances_are_those_that_went_in():
    rows = [
        Utterance("a", "/x/a.flac", 1.25, "HÉLLO ✓", "s"),
        Utterance("b", "/x/b.flac", 0.1, "", ""),
        Utterance("c", "", 3.0, "THE", "t"),
    ]
    compact = CompactUtterances(rows)
    assert list(compact) == rows and len(compact) == 3
    assert (compact[-1], compact[:2]) == (rows[2], rows[:2])
    with pytest.raises(IndexError):
        compact[3]
    assert list(CompactUtterances([])) == []
