"""Bad input on the command line: one clear sentence, the right exit code, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from tones import SAMPLE_RATE, make_tones, tones

from asr.audio import write_flac
from asr.cli import main
from asr.model import build_model
from asr.model_folder import save_model
from asr.recognizer import Recognizer
from asr.tokenizer import CharacterTokenizer

ASR = str(Path(sys.executable).with_name("asr"))
WELL, SOME_FAILED, USAGE, MODEL_UNUSABLE, INTERRUPTED = 0, 1, 2, 3, 130
MODEL = {
    "features": {"sample_rate": SAMPLE_RATE, "n_mels": 16},
    "encoder": {"kind": "gru", "layers": 1, "width": 16, "channels": 4},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tones(tmp_path_factory.mktemp("tones"), train=6, valid=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights."""
    folder = tmp_path_factory.mktemp("models") / "model"
    tokenizer = CharacterTokenizer(list(" ABCDE"))
    torch.manual_seed(1)
    save_model(folder, build_model(MODEL, tokenizer.vocabulary_size), tokenizer, MODEL)
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """Run a verb in this process and give exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs rights that this user lacks")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def everything_in(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def manifest_with(path: Path, *changes: dict[str, object]) -> Path:
    """Write a manifest of one good recording for each change of its entry."""
    audio = path.parent / "good.flac"
    write_flac(audio, tones("ABC DE"), SAMPLE_RATE)
    entries = [
        {"id": f"u{i}", "audio_filepath": str(audio), "duration": 0.96, "text": "ABC DE", **change}
        for i, change in enumerate(changes)
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def training(data: Path, output_dir: Path, *overrides: str) -> list[str]:
    """Give the words of an `asr train` of seconds."""
    return [
        "train",
        f"data.train={data}/train.jsonl",
        f"data.valid={data}/valid.jsonl",
        f"output_dir={output_dir}",
        *("data.batch_seconds=4", "data.workers=0", "model=gru_tiny"),
        *("trainer=cpu", "trainer.max_epochs=1", *overrides),
    ]


def missing_file(place: Path) -> Path:
    return place / "missing.flac"


def empty_file(place: Path) -> Path:
    path = place / "empty.wav"
    path.touch()
    return path


def text_named_wav(place: Path) -> Path:
    path = place / "letter.wav"
    path.write_text("Dear reader, this is no recording.\n" * 50)
    return path


def headless_flac(place: Path) -> Path:
    write_flac(place / "whole.flac", tones("ABC"), SAMPLE_RATE)
    path = place / "headless.flac"
    path.write_bytes((place / "whole.flac").read_bytes()[:60])
    return path


def silent_of_no_length(place: Path) -> Path:
    path = place / "nothing.wav"
    soundfile.write(path, tones("A")[:0], SAMPLE_RATE)
    return path


def folder(place: Path) -> Path:
    path = place / "folder.wav"
    path.mkdir()
    return path


UNREADABLE = [
    missing_file,
    empty_file,
    text_named_wav,
    headless_flac,
    silent_of_no_length,
    folder,
]


@pytest.mark.parametrize("make", UNREADABLE)
def test_what_cannot_be_read_is_named_and_the_others_are_transcribed(make, model, tmp_path, call):
    bad = make(tmp_path)
    good = tmp_path / "good.flac"
    write_flac(good, tones("ABC"), SAMPLE_RATE)
    code, out, err = call("transcribe", bad, good, "-m", model, "-o", tmp_path / "out")
    assert code == SOME_FAILED
    assert out == ""
    named = [line for line in err.splitlines() if bad.name in line]
    assert len(named) == 1
    assert "1 of 2 inputs were not transcribed" in err
    assert everything_in(tmp_path / "out") == {"good.txt", "asr-run.jsonl"}


@pytest.mark.parametrize("make", UNREADABLE)
def test_an_unreadable_file_in_an_evaluation_is_named_and_counted(make, model, tmp_path, call):
    bad = make(tmp_path)
    manifest = manifest_with(tmp_path / "m.jsonl", {}, {"audio_filepath": str(bad)})
    code, out, err = call("evaluate", manifest, "-m", model)
    assert code == SOME_FAILED
    assert "u1" in err
    assert bad.name in err
    assert "4" in out  # The words of both references are counted.


def test_a_cut_flac_is_transcribed_as_far_as_it_goes_with_a_warning(model, tmp_path, call):
    whole = tmp_path / "whole.flac"
    write_flac(whole, tones("ABCDE" * 10), SAMPLE_RATE)
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, _, err = call("transcribe", cut, "-m", model)
    assert code == WELL
    assert "warning" in err
    assert "cut.flac" in err


def test_training_refuses_a_cut_flac(data, tmp_path, call):
    whole = tmp_path / "whole.flac"
    text = "ABCDE " * 3 + "AB"
    write_flac(whole, tones(text), SAMPLE_RATE)
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    change = {"audio_filepath": str(cut), "duration": 3.2, "text": text}
    manifest = manifest_with(tmp_path / "m.jsonl", change)
    code, _, err = call(*training(data, tmp_path / "run", f"data.train={manifest}"))
    assert code == SOME_FAILED
    assert "cut.flac" in err
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("verb", ["evaluate", "train"])
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{id: u1}", "line 2 is not JSON"),
        ("[]", "line 2 is JSON but not an object"),
        ('{"id": "u1"}', "line 2 lacks the key 'audio_filepath'"),
        (None, "line 2: id 'u0' already stands in line 1"),
    ],
)
def test_a_broken_manifest_line_is_named(verb, line, complaint, data, model, tmp_path, call):
    manifest = manifest_with(tmp_path / "m.jsonl", {})
    first = manifest.read_text(encoding="utf-8")
    manifest.write_text(first + (line or first), encoding="utf-8")
    out = tmp_path / "out"
    if verb == "evaluate":
        code, _, err = call("evaluate", manifest, "-m", model, "-o", out)
    else:
        code, _, err = call(*training(data, out, f"data.train={manifest}"))
    assert code == SOME_FAILED
    assert f"m.jsonl, {complaint}" in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_missing_manifest_is_named(model, tmp_path, call):
    code, _, err = call("evaluate", tmp_path / "no.jsonl", "-m", model)
    assert code == SOME_FAILED
    assert "no.jsonl" in err


def test_a_character_absent_from_training_is_named_with_its_utterance(data, tmp_path, call):
    manifest = manifest_with(tmp_path / "m.jsonl", {"text": "ABC É"})
    code, _, err = call(*training(data, tmp_path / "run", f"data.valid={manifest}"))
    assert code == SOME_FAILED
    assert "'u0'" in err
    assert "'É' (U+00C9)" in err
    assert not (tmp_path / "run").exists()


def test_an_utterance_too_short_for_its_transcript_is_named(data, tmp_path, call):
    manifest = manifest_with(tmp_path / "m.jsonl", {}, {"duration": 0.2, "text": "ABC DE" * 3})
    code, _, err = call(*training(data, tmp_path / "run", f"data.train={manifest}"))
    assert code == SOME_FAILED
    assert "'u1'" in err
    assert "'u0'" not in err
    assert "data.skip_infeasible=true" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("format", "format 99"),
        ("no config", "lacks config.yaml"),
        ("not yaml", "cannot be read"),
        ("no weights", "model.safetensors"),
        ("cut weights", "model.safetensors"),
        ("no vocabulary", "tokenizer.txt"),
    ],
)
def test_an_unusable_model_folder_is_named(damage, complaint, model, tmp_path, call):
    spoilt = tmp_path / "spoilt"
    Recognizer.load(model).save(spoilt)
    config = spoilt / "config.yaml"
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    weights = spoilt / "model.safetensors"
    if damage == "format":
        config.write_text(yaml.safe_dump({**content, "format": 99}), encoding="utf-8")
    elif damage == "no config":
        config.unlink()
    elif damage == "not yaml":
        config.write_text("a: [", encoding="utf-8")
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (spoilt / "tokenizer.txt").unlink()
    recording = tmp_path / "good.flac"
    write_flac(recording, tones("ABC"), SAMPLE_RATE)
    code, out, err = call("transcribe", recording, "-m", spoilt, "-o", tmp_path / "out")
    assert code == MODEL_UNUSABLE
    assert "spoilt" in err
    assert complaint in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_missing_is_no_model(tmp_path, call):
    code, _, err = call("transcribe", "a.wav", "-m", tmp_path / "nowhere")
    assert code == MODEL_UNUSABLE
    assert "nowhere" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["transcibe"], "did you mean 'transcribe'?"),
        (["sing"], "'sing' is no verb"),
        (["transcribe", "a.wav"], "-m/--model"),
        (["transcribe", "a.wav", "-m", "m", "-f", "doc"], "invalid choice: 'doc'"),
        (["transcribe", "a.wav", "-m", "m", "--batch-seconds", "0"], "--batch-seconds"),
        (["transcribe", "a.wav", "-m", "m", "-f", "srt,vtt"], "name a folder for them, -o DIR"),
        (["transcribe", "a.wav", "b.wav", "-m", "m", "-f", "srt"], "do not make one file"),
        (["transcribe", "a.wav", "-m", "m", "--skip-existing"], "needs an output folder"),
        (["transcribe", "a.wav", "-m", "m", "--channel", "left"], "channel is 'left'"),
        (
            ["transcribe", "a.wav", "-m", "m", "--chunk-length", "10", "--chunk-overlap", "3"],
            "expected four times",
        ),
        (["transcribe", "a.wav", "-m", "m", "--threads", "0"], "--threads is 0"),
        (["transcribe", "a.wav", "-m", "m", "--max-line-width", "0"], "expected 1 or more"),
        (["prepare", "spokn", "--root", "r", "-o", "o"], "invalid choice: 'spokn'"),
        (["train", "seed"], "'seed' is no override"),
        (["train", "trainer.max_epochs=[1"], "cannot read the overrides"),
        (["train"], "data.train names no manifest"),
        (["train", "output_dir="], "output_dir is empty"),
        (["demo", "seed"], "'seed' is no override"),
    ],
)
def test_wrong_usage_is_explained(words, complaint, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words)
    assert code == USAGE
    assert complaint in err
    assert out == ""
    assert everything_in(tmp_path) == set()


def test_no_verb_shows_what_there_is(call):
    assert call()[0] == USAGE
    code, out, _ = call("--help")
    assert code == WELL
    assert all(verb in out for verb in ("prepare", "train", "transcribe", "evaluate", "demo"))


def test_an_unknown_device_is_named(model, tmp_path, call):
    code, _, err = call("transcribe", "a.wav", "-m", model, "--device", "abacus")
    assert code == USAGE
    assert "no device 'abacus'" in err


def test_a_folder_of_foreign_files_is_not_trained_in(data, tmp_path, call):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mum.txt").write_text("Dear mum")
    code, _, err = call(*training(data, tmp_path / "letters"))
    assert code == SOME_FAILED
    assert "letters holds files but no run" in err
    assert everything_in(tmp_path) == {"letters", "letters/to-mum.txt"}


def test_a_folder_of_another_run_is_not_trained_in(data, tmp_path, call):
    run = tmp_path / "run"
    assert call(*training(data, run))[0] == WELL
    before = {name: (run / name).stat().st_mtime_ns for name in everything_in(run)}
    code, _, err = call(*training(data, run, "seed=2", "optimizer.lr=1.0e-4"))
    assert code == SOME_FAILED
    assert "belongs to another run" in err
    assert "seed (1 there, 2 now)" in err
    assert "optimizer.lr" in err
    assert {name: (run / name).stat().st_mtime_ns for name in everything_in(run)} == before


def test_a_full_disk_leaves_no_half_transcript(small_disk, model, data, call):
    (small_disk / "filler").write_bytes(bytes((1 << 20) - 8192))
    audio = sorted((data / "train").glob("*.flac"))
    code, _, err = call("transcribe", *audio, "-m", model, "-o", small_disk / "out")
    assert code == SOME_FAILED
    assert "No space left on device" in err
    assert ".txt" in err
    written = list((small_disk / "out").iterdir())
    assert all(path.read_text().endswith("\n") for path in written)
    assert {path.suffix for path in written} <= {".txt", ".jsonl"}


def test_a_full_disk_ends_training_and_leaves_nothing_half_written(small_disk, data, call):
    run = small_disk / "run"
    code, _, err = call(*training(data, run))
    assert code == SOME_FAILED
    assert "No space left on device" in err
    assert not any(".part" in name for name in everything_in(run))
    assert not (run / "model").exists()


def started(words: list[str], place: Path) -> subprocess.Popen[str]:
    """Start the program in a group of its own, its output in files."""
    with (place / "out.txt").open("w") as out, (place / "err.txt").open("w") as err:
        return subprocess.Popen(
            [ASR, *words],
            stdout=out,
            stderr=err,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def test_an_interrupt_ends_training_at_once_and_the_same_command_goes_on(data, tmp_path, call):
    run = tmp_path / "run"
    # So many epochs never end before the interrupt.
    words = training(data, run, "trainer.max_epochs=1000", "checkpoint.every_steps=1")
    process = started(words, tmp_path)
    try:
        end = time.monotonic() + 60
        while not (run / "model").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        # As the terminal does for Ctrl-C.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == INTERRUPTED
    finally:
        if process.poll() is None:
            process.kill()
    error = (tmp_path / "err.txt").read_text()
    assert "Traceback" not in error
    assert "interrupted; run the same command to go on" in error
    assert not any(".part" in name or ".old" in name for name in everything_in(run))
    Recognizer.load(run / "model")
    done = len((run / "history.jsonl").read_text().splitlines())
    # The run shall now end after one epoch more, as if it had been begun so.
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["max_epochs"] = done + 1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    code, out, _ = call(*training(data, run, f"trainer.max_epochs={done + 1}", *words[-1:]))
    assert code == WELL
    assert "going on in" in out
    epochs = [json.loads(line)["epoch"] for line in (run / "history.jsonl").open()]
    assert epochs == list(range(1, done + 2))
