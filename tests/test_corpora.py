"""Readers of corpora: official layouts, converted copies, tables, and all that can be missing."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.corpora import CORPORA, CorpusItem, ReadOptions, Refusal
from asr.corpora.an4 import find_an4_splits, read_an4
from asr.corpora.folder import read_folder
from asr.corpora.librispeech import find_librispeech_splits, read_librispeech
from asr.errors import CorpusError, UsageError

Entries = list[CorpusItem | Refusal]


def write_tone(path: Path, rate: int = 16000, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * 440 / rate * np.arange(rate // 4))
    soundfile.write(path, wave, rate, **options)
    return path


def items(entries: Entries) -> list[CorpusItem]:
    return [entry for entry in entries if isinstance(entry, CorpusItem)]


def refusals(entries: Entries) -> dict[str, str]:
    return {entry.id: entry.reason for entry in entries if isinstance(entry, Refusal)}


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    chapter = tmp_path / "LibriSpeech/dev-clean/84/121123"
    for number, suffix in enumerate(("flac", "wav", "mp3", "ogg", "opus")):
        options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
        write_tone(chapter / f"84-121123-000{number}.{suffix}", **options)
    lines = [f"84-121123-000{number} GO NUMBER {number}" for number in range(5)]
    (chapter / "84-121123.trans.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    folder = tmp_path / "wav/an4_clstk"
    write_tone(folder / "fash/an251-fash-b.wav")
    write_tone(folder / "fash/an253-fash-b.sph", format="NIST")
    write_tone(folder / "mblb/cen1-mblb-b.flac")
    (folder / "mblb/cen2-mblb-b.raw").write_bytes(np.arange(4000, dtype=">i2").tobytes())
    ids = ["fash/an251-fash-b", "fash/an253-fash-b", "mblb/cen1-mblb-b", "mblb/cen2-mblb-b"]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/an4_train.fileids").write_text("".join(f"an4_clstk/{i}\n" for i in ids))
    lines = [f"<s> SAY {i[:4].upper()} </s> ({i.split('/')[1]})\n" for i in ids]
    (tmp_path / "etc/an4_train.transcription").write_text("".join(lines))
    return tmp_path


def test_librispeech_is_read_in_any_converted_form(librispeech: Path) -> None:
    found = items(list(read_librispeech(librispeech, "dev-clean")))
    assert [item.audio.suffix for item in found] == [".flac", ".wav", ".mp3", ".ogg", ".opus"]
    assert [item.text for item in found] == [f"GO NUMBER {number}" for number in range(5)]
    assert {item.speaker for item in found} == {"84"}


def test_librispeech_root_may_be_the_folder_of_splits(librispeech: Path) -> None:
    inner = librispeech / "LibriSpeech"
    (inner / "train-clean-5").mkdir()
    assert find_librispeech_splits(librispeech) == ["train-clean-5", "dev-clean"]
    assert find_librispeech_splits(inner) == ["train-clean-5", "dev-clean"]
    assert list(read_librispeech(inner, "dev-clean")) == list(
        read_librispeech(librispeech, "dev-clean")
    )


def test_librispeech_prefers_the_original_where_a_copy_lies_beside(librispeech: Path) -> None:
    chapter = librispeech / "LibriSpeech/dev-clean/84/121123"
    write_tone(chapter / "84-121123-0002.flac")
    found = items(list(read_librispeech(librispeech, "dev-clean")))
    assert found[2].audio.suffix == ".flac" and len(found) == 5


def test_librispeech_names_what_lacks_its_other_half(librispeech: Path) -> None:
    chapter = librispeech / "LibriSpeech/dev-clean/84/121123"
    (chapter / "84-121123-0001.wav").unlink()
    write_tone(chapter / "84-121123-0009.flac")
    write_tone(chapter.parent / "121124/84-121124-0000.flac")
    with (chapter / "84-121123.trans.txt").open("a") as stream:
        stream.write("84-121123-0000 GO AGAIN\n")
    entries = list(read_librispeech(librispeech, "dev-clean"))
    assert len(items(entries)) == 4
    assert refusals(entries) == {
        "84-121123-0000": "its id already stands in this file",
        "84-121123-0001": "transcript without audio",
        "84-121123-0009": "audio without a transcript",
        "84-121124-0000": "audio without a transcript",
    }


def test_librispeech_without_the_split_or_its_transcripts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no folder .*test-other"):
        list(read_librispeech(tmp_path, "test-other"))
    (tmp_path / "test-other").mkdir()
    with pytest.raises(CorpusError, match=r"no \*\.trans\.txt"):
        list(read_librispeech(tmp_path, "test-other"))


def test_real_librispeech_is_found_whole(speech: Path) -> None:
    entries = list(read_librispeech(speech / "LibriSpeech", "dev-clean"))
    assert len(items(entries)) == 1041 and not refusals(entries)
    assert len({item.speaker for item in items(entries)}) == 16


def test_an4_is_read_in_all_its_forms(an4: Path) -> None:
    found = items(list(read_an4(an4, "train")))
    assert [item.audio.suffix for item in found] == [".wav", ".sph", ".flac", ".raw"]
    assert [item.text for item in found] == ["SAY FASH", "SAY FASH", "SAY MBLB", "SAY MBLB"]
    assert [item.speaker for item in found] == ["fash", "fash", "mblb", "mblb"]
    assert [bool(item.raw) for item in found] == [False, False, False, True]
    assert find_an4_splits(an4) == ["train"]


def test_an4_names_what_is_missing_or_broken(an4: Path) -> None:
    (an4 / "wav/an4_clstk/fash/an251-fash-b.wav").unlink()
    transcription = an4 / "etc/an4_train.transcription"
    text = transcription.read_text().replace("(cen1-mblb-b)", "(cen1-mblb-b")
    transcription.write_text(text + "<s> A </s> (an253-fash-b)\n<s> B </s> (an999-x-b)\n")
    entries = list(read_an4(an4, "train"))
    assert [item.id for item in items(entries)] == ["an253-fash-b", "cen2-mblb-b"]
    found = refusals(entries)
    assert found["an251-fash-b"].startswith("transcript without audio")
    assert found["an253-fash-b"] == "its id already stands in this file"
    assert found["cen1-mblb-b"] == "no transcript has its id"
    assert found["an999-x-b"] == "transcript of a file that is not in the list"
    assert "expected '<s> TEXT </s> (ID)'" in found[""]


def test_an4_test_transcripts_without_sentence_marks_are_read(an4: Path) -> None:
    for name in ("fileids", "transcription"):
        (an4 / f"etc/an4_train.{name}").rename(an4 / f"etc/an4_test.{name}")
    path = an4 / "etc/an4_test.transcription"
    path.write_text(path.read_text().replace("<s> ", "").replace(" </s>", ""))
    assert {item.text for item in items(list(read_an4(an4, "test")))} == {"SAY FASH", "SAY MBLB"}


def test_real_an4_has_its_official_counts(speech: Path) -> None:
    entries = list(read_an4(speech / "an4", "train"))
    found = items(entries)
    assert (len(found), len({item.speaker for item in found})) == (948, 74)
    assert not refusals(entries)
    # The two sentence marks make up the 101 words that the corpus is said to have.
    assert len({word for item in found for word in item.text.split()}) == 99


def test_folder_reads_transcripts_beside_the_audio(tmp_path: Path) -> None:
    for name, suffix in (
        ("anna/one.wav", ".txt"),
        ("anna/two.flac", ".lab"),
        ("b/c.ogg", ".trans"),
    ):
        write_tone(tmp_path / name).with_suffix(suffix).write_text(f"\ufeffsay {name[:4]}\n")
    (tmp_path / "README.txt").write_text("no transcript")
    entries = list(read_folder(tmp_path, options=ReadOptions(speaker_from="parent")))
    assert [(item.id, item.speaker) for item in items(entries)] == [
        ("anna/one", "anna"),
        ("anna/two", "anna"),
        ("b/c", "b"),
    ]
    assert [item.text.strip() for item in items(entries)] == ["say anna", "say anna", "say b/c."]
    assert not refusals(entries)


def test_folder_names_what_lacks_its_other_half(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav").with_suffix(".txt").write_text("a")
    write_tone(tmp_path / "b.wav")
    (tmp_path / "c.txt").write_text("c")
    write_tone(tmp_path / "d.wav").with_suffix(".txt").write_bytes(b"\xff\xfe\x80")
    found = refusals(list(read_folder(tmp_path)))
    assert found.keys() == {"b", "c", "d"}
    assert found["c"] == "transcript without audio" and "cannot be read" in found["d"]


def test_folder_split_is_a_sub_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_tone(tmp_path / split / "a.wav").with_suffix(".txt").write_text(split)
    assert [item.id for item in items(list(read_folder(tmp_path, "test")))] == ["test/a"]


TABLES = {
    "head.tsv": 'speaker\tpath\ttext\nann\tx/a.wav\tsay "a\ntim\tx/b.wav\tsay b\n',
    "bare.tsv": 'x/a.wav\tsay "a\tk1\tann\nx/b.wav\tsay b\tk2\ttim\n',
    "head.csv": 'file,sentence,client_id\r\nx/a.wav,"say ""a",ann\r\nx/b.wav,say b,tim\r\n',
    "rows.jsonl": "".join(
        json.dumps({"audio_filepath": f"x/{k}.wav", "text": t, "speaker": s, "duration": 1}) + "\n"
        for k, t, s in (("a", 'say "a', "ann"), ("b", "say b", "tim"))
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_folder_reads_one_table(tmp_path: Path, name: str) -> None:
    for stem in "ab":
        write_tone(tmp_path / f"x/{stem}.wav")
    table = tmp_path / name
    table.write_bytes(TABLES[name].encode())
    entries = list(read_folder(tmp_path, options=ReadOptions(transcripts=table)))
    assert not refusals(entries)
    assert [(i.text, i.speaker) for i in items(entries)] == [('say "a', "ann"), ("say b", "tim")]
    ids = ["k1", "k2"] if name == "bare.tsv" else ["x/a", "x/b"]
    assert [item.id for item in items(entries)] == ids


def test_folder_finds_the_speaker_by_a_regular_expression(tmp_path: Path) -> None:
    write_tone(tmp_path / "0_george_10.wav").with_suffix(".txt").write_text("zero")
    options = ReadOptions(speaker_from=r"\d_([a-z]+)_")
    assert items(list(read_folder(tmp_path, options=options)))[0].speaker == "george"


@pytest.mark.parametrize(("rule", "complaint"), [("(", "no regular"), ("a+", "has no group")])
def test_folder_refuses_a_speaker_rule_that_finds_nothing(
    tmp_path: Path, rule: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        list(read_folder(tmp_path, options=ReadOptions(speaker_from=rule)))


def test_folder_names_the_broken_lines_of_a_table(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    table = tmp_path / "t.jsonl"
    table.write_text(
        '{"path": "a.wav", "text": "a"}\n{"path": "b.wav", "text": "b"}\n'
        '{"id": "c", "text": "c"}\nnot json\n[1]\n'
    )
    entries = list(read_folder(tmp_path, options=ReadOptions(transcripts=table)))
    assert [item.id for item in items(entries)] == ["a"]
    broken = {e.place.rsplit(" ", 1)[1]: e.reason for e in entries if isinstance(e, Refusal)}
    assert broken["2"] == "transcript without audio: no file b.wav"
    assert broken["3"] == "the line has no path"
    assert broken["4"].startswith("it is not JSON")
    assert broken["5"] == "it is JSON but not an object"


def test_folder_refuses_a_table_of_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(CorpusError, match=r"expected \.tsv, \.csv or \.jsonl"):
        list(read_folder(tmp_path, options=ReadOptions(transcripts=tmp_path / "t.xlsx")))


def test_every_corpus_explains_itself() -> None:
    assert set(CORPORA) == {"librispeech", "an4", "folder", "spoken", "census"}
    assert all(corpus.summary and "\n" not in corpus.summary for corpus in CORPORA.values())
