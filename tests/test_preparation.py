"""`asr prepare`: only whole, spoken, transcribed files enter a manifest, and a rerun is idle."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli import main
from asr.manifest import read_manifest

RATE = 16000

Say = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def say(tree: Path) -> Say:
    """Write noise with a transcript beside it and return the audio's path."""

    def write(name: str, text: str = "HELLO", seconds: float = 1.0, rate: int = RATE) -> Path:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate))
        soundfile.write(path, noise, rate)
        path.with_suffix(".txt").write_text(text)
        return path

    return write


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def prepare(corpus: str, root: Path, out: Path, *options: str) -> int:
    return main(["prepare", corpus, "--root", str(root), "-o", str(out), *options])


def refused(out: Path) -> dict[str, str]:
    report = json.loads((out / "prepare-report.json").read_text())
    return {entry["id"]: entry["reason"] for entry in report["refused"]}


def state(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_a_manifest_lists_what_the_files_hold_sorted_by_id(say: Say, tree: Path, out: Path) -> None:
    say("b.wav", "WORLD", 0.75, 8000)
    say("a.flac", "HELLO\n", 1.5)
    assert prepare("folder", tree, out) == 0
    lines = [json.loads(line) for line in (out / "all.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [
        ["id", "audio_filepath", "duration", "text", "speaker"]
    ] * 2
    assert [(line["id"], line["text"], line["duration"]) for line in lines] == [
        ("a", "HELLO", 1.5),
        ("b", "WORLD", 0.75),
    ]
    assert all(Path(line["audio_filepath"]).is_absolute() for line in lines)


def test_running_again_changes_nothing(say: Say, tree: Path, out: Path) -> None:
    say("ann/a.wav")
    say("tim/b.wav", seconds=0.5)
    options = ("--speaker-from", "parent", "--valid-speakers", "tim")
    assert prepare("folder", tree, out, *options) == 0
    before = state(out)
    assert prepare("folder", tree, out, *options) == 0
    assert state(out) == before and len(before) == 4


def heard(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_only_what_changed_is_decoded_again(
    say: Say, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b.wav", "c.flac", "d.flac"):
        say(name)
    cut = say("e.flac", seconds=4)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert prepare("folder", tree, out) == 1
    assert heard(capsys) == "audio: 5 decoded, 0 unchanged since they were"
    # What is damaged stays refused, from memory too.
    assert prepare("folder", tree, out) == 1
    assert heard(capsys) == "audio: 0 decoded, 5 unchanged since they were"
    assert refused(out).keys() == {"e"}
    # Damage that leaves size and time of the content alone still changes the time of the status.
    changed = tree / "a.wav"
    status = changed.stat()
    changed.write_bytes(changed.read_bytes()[:44] + bytes(status.st_size - 44))
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prepare("folder", tree, out) == 1
    assert heard(capsys) == "audio: 1 decoded, 4 unchanged since they were"
    assert "digital silence" in refused(out)["a"]
    assert prepare("folder", tree, out, "--decode-all") == 1
    assert heard(capsys) == "audio: 5 decoded, 0 unchanged since they were"


def test_other_wishes_hold_for_remembered_audio_too(say: Say, tree: Path, out: Path) -> None:
    for name, seconds in (("a", 0.5), ("b", 1.0), ("c", 3.0)):
        say(f"{name}.wav", seconds=seconds)
    assert prepare("folder", tree, out) == 0
    (tree / "b.txt").write_text("OTHER WORDS")
    assert prepare("folder", tree, out, "--max-duration", "2") == 0
    listed = [(u.id, u.text, u.duration) for u in read_manifest(out / "all.jsonl")]
    assert listed == [("a", "HELLO", 0.5), ("b", "OTHER WORDS", 1.0)]


def test_what_a_killed_run_heard_is_not_lost(
    say: Say, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        say(name)
    assert prepare("folder", tree, out) == 0
    memory = out / ".audio.jsonl"
    lines = memory.read_text().splitlines(keepends=True)
    memory.write_text("".join(lines[:2]) + lines[2][:20])
    capsys.readouterr()
    assert prepare("folder", tree, out) == 0
    assert heard(capsys) == "audio: 2 decoded, 1 unchanged since they were"
    assert memory.read_text() == "".join(lines)


def test_every_broken_file_is_refused_by_name_and_the_others_go_on(
    say: Say, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("sound.wav")
    cut = say("cut.flac", seconds=4)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    say("empty.wav").write_bytes(b"")
    say("text.wav").write_text("this is a text\n" * 50)
    soundfile.write(say("nothing.wav"), np.zeros(0), RATE)
    soundfile.write(say("silent.wav"), np.zeros(RATE), RATE)
    soundfile.write(say("nan.wav"), np.full(RATE, np.nan), RATE, subtype="FLOAT")
    say("mute.wav", text=" \n")
    say("odd.wav", text="HE\x07LLO")
    assert prepare("folder", tree, out) == 1
    assert [utterance.id for utterance in read_manifest(out / "all.jsonl")] == ["sound"]
    reasons = refused(out)
    assert reasons.keys() == {
        *("cut", "empty", "text", "nothing", "silent", "nan", "mute", "odd"),
    }
    assert "digital silence" in reasons["silent"]
    assert reasons["mute"] == "the transcript is empty"
    assert "U+0007" in reasons["odd"]
    printed = capsys.readouterr()
    assert "refused: 8 " in printed.out
    assert all(f"refused: {name}: " in printed.err for name in reasons)


def test_an_id_that_stands_twice_is_refused_once(say: Say, tree: Path, out: Path) -> None:
    say("a.wav")
    say("a.flac")
    assert prepare("folder", tree, out) == 1
    assert [Path(u.audio_filepath).name for u in read_manifest(out / "all.jsonl")] == ["a.flac"]
    assert refused(out)["a"].startswith("its id is that of")


def test_characters_outside_those_named_are_refused(say: Say, tree: Path, out: Path) -> None:
    say("a.wav", "It's fine, Zoe!")
    say("b.wav", "Café 9")
    options = ("--normalizer", "librispeech", "--characters", "ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert prepare("folder", tree, out, *options) == 1
    assert [u.text for u in read_manifest(out / "all.jsonl")] == ["IT'S FINE ZOE"]
    assert "'9' (U+0039), 'É' (U+00C9)" in refused(out)["b"]


def test_durations_outside_the_bounds_are_left_out_without_complaint(
    say: Say, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seconds in (("a", 0.2), ("b", 1.0), ("c", 3.0)):
        say(f"{name}.wav", seconds=seconds)
    assert prepare("folder", tree, out, "--min-duration", "0.5", "--max-duration", "2") == 0
    assert [utterance.id for utterance in read_manifest(out / "all.jsonl")] == ["b"]
    printed = capsys.readouterr()
    assert "left out: 2" in printed.out and "left out: a: lasts 0.20 s" in printed.err


def test_whole_speakers_are_held_out_until_there_are_enough(
    say: Say, tree: Path, out: Path
) -> None:
    for speaker, count in (("carl", 2), ("anna", 3), ("bert", 2), ("dora", 1)):
        for number in range(count):
            say(f"{speaker}/{number}.wav", seconds=0.1)
    options = ("--speaker-from", "parent", "--valid-utterances", "4")
    assert prepare("folder", tree, out, *options) == 0
    valid, train = (read_manifest(out / f"{name}.jsonl") for name in ("valid", "train"))
    assert {u.speaker for u in valid} == {"anna", "bert"} and len(valid) == 5
    assert {u.speaker for u in train} == {"carl", "dora"} and len(train) == 3
    report = json.loads((out / "prepare-report.json").read_text())
    assert report["valid_speakers"] == ["anna", "bert"]


def test_held_out_speakers_come_from_a_file_or_a_list(say: Say, tree: Path, out: Path) -> None:
    for speaker in ("ann", "tim", "zoe"):
        say(f"{speaker}/a.wav", seconds=0.1)
    names = out.parent / "names.txt"
    names.write_text("zoe\ntim\n")
    for given in (str(names), "tim,zoe"):
        options = ("--speaker-from", "parent", "--valid-speakers", given)
        assert prepare("folder", tree, out, *options) == 0
        assert [u.speaker for u in read_manifest(out / "valid.jsonl")] == ["tim", "zoe"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--valid-speakers", "bob"), "no speaker 'bob' to hold out"),
        (("--valid-utterances", "1"), "leaves nobody to train on"),
        (("--valid-utterances", "-1"), "expected 0 or more"),
        (("--jobs", "0"), "expected 1 or more"),
        (("--splits", "train"), "there is no folder"),
    ],
)
def test_impossible_wishes_end_with_exit_code_2_and_write_nothing(
    say: Say,
    tree: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    complaint: str,
) -> None:
    say("ann/a.wav")
    assert prepare("folder", tree, out, "--speaker-from", "parent", *options) == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_holding_out_without_speakers_says_how_to_name_them(
    say: Say, tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("a.wav")
    assert prepare("folder", tree, out, "--valid-utterances", "1") == 2
    assert "--speaker-from" in capsys.readouterr().err


@pytest.mark.parametrize("corpus", ["librispeech", "an4", "folder"])
def test_nothing_found_ends_with_exit_code_2(corpus: str, tree: Path, out: Path) -> None:
    assert prepare(corpus, tree, out) == 2
    assert prepare(corpus, tree / "nowhere", out) == 2
    assert not out.exists()


def test_an_old_manifest_goes_when_nothing_is_left_for_it(say: Say, tree: Path, out: Path) -> None:
    path = say("a.wav")
    assert prepare("folder", tree, out) == 0
    path.write_bytes(b"broken")
    assert prepare("folder", tree, out) == 1
    assert not (out / "all.jsonl").exists()


def test_big_endian_raw_becomes_flac_without_loss(tree: Path, out: Path) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, RATE).astype(np.int16)
    folder = tree / "wav/an4test_clstk/fcaw"
    folder.mkdir(parents=True)
    (folder / "an406-fcaw-b.raw").write_bytes(samples.astype(">i2").tobytes())
    (tree / "etc").mkdir()
    (tree / "etc/an4_test.fileids").write_text("an4test_clstk/fcaw/an406-fcaw-b\n")
    (tree / "etc/an4_test.transcription").write_text("<s> RUBOUT </s> (an406-fcaw-b)\n")
    for _ in range(2):
        assert prepare("an4", tree, out) == 0
        (utterance,) = read_manifest(out / "test.jsonl")
        path = Path(utterance.audio_filepath)
        assert path == out.absolute() / "audio/an406-fcaw-b.flac"
        modified = path.stat().st_mtime_ns
        decoded, rate = soundfile.read(path, dtype="int16")
        assert rate == RATE and np.array_equal(decoded, samples)
        assert (utterance.text, utterance.speaker) == ("RUBOUT", "fcaw")
    assert path.stat().st_mtime_ns == modified


def test_the_spoken_corpus_is_made_once_and_then_prepared(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from asr.corpora import CORPORA
    from asr.corpora.reading import SpokenSplit, read_aloud
    from asr.corpora.spoken import SPOKEN_SCRIPT

    sizes = {"train": SpokenSplit(2, 1), "dev": SpokenSplit(1, 1), "test": SpokenSplit(1, 1)}

    def make(root: Path) -> object:
        return read_aloud(root, SPOKEN_SCRIPT, sizes, jobs=1)

    monkeypatch.setitem(CORPORA, "spoken", replace(CORPORA["spoken"], generate=make))
    assert prepare("spoken", tmp_path / "root", out) == 0
    before = state(tmp_path)
    assert prepare("spoken", tmp_path / "root", out) == 0
    assert state(tmp_path) == before
    heard = {s: {u.speaker for u in read_manifest(out / f"{s}.jsonl")} for s in sizes}
    assert heard == {"train": {"1001", "1002"}, "dev": {"1003"}, "test": {"1004"}}


def test_help_lists_every_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    from asr.corpora import CORPORA

    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {name:11}  {corpus.summary}\n" in text for name, corpus in CORPORA.items())


def test_real_an4_holds_out_the_eight_speakers_of_published_recipes(
    speech: Path, out: Path
) -> None:
    assert prepare("an4", speech / "an4", out) == 0
    valid, train = (read_manifest(out / f"{name}.jsonl") for name in ("valid", "train"))
    assert (len(valid), len(train)) == (100, 848)
    names = " ".join(sorted({u.speaker for u in valid}))
    assert names == "fash fbbh fclc fejs ffmm fjam fjdn fjmd"
    assert 42.3 < sum(u.duration for u in [*valid, *train]) / 60 < 42.5


def test_real_librispeech_is_parted_as_its_list_of_speakers_says(speech: Path, out: Path) -> None:
    folder = speech / "LibriSpeech"
    given = str(folder / "valid_speakers.txt")
    assert prepare("librispeech", folder, out, "--valid-speakers", given) == 0
    valid, train = (read_manifest(out / f"{name}.jsonl") for name in ("valid", "train"))
    assert (len(valid), len(train)) == (149, 892)
    assert sum(len(u.text.split()) for u in valid) == 4071
