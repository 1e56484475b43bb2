"""Jobs of many inputs: nothing is lost, done twice or half-written, killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from golden.voice import SAMPLE_RATE, speak_tones
from sound_files import encode_file

from asr.cli import main
from asr.resampling import resample
from asr.run_log import OK, Entry, RunLog, fingerprint

MODEL = Path(__file__).parent / "golden" / "model"
WELL, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
FILES = 200


@pytest.fixture
def call(capsys):
    """Run `asr transcribe` in this process and give exit code, stdout and stderr."""

    def run(*words):
        code = main(["transcribe", *map(str, words), "-m", str(MODEL), "--device", "cpu"])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def say(path: Path, text: str, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speak_tones(text, seed), SAMPLE_RATE)
    return path


@pytest.fixture
def recordings(tmp_path):
    """A folder of recordings, a bad one among them."""
    for name, text in (("a", "ABC"), ("deep/b", "H"), ("deep/c", "BAD CAFE")):
        say(tmp_path / "in" / f"{name}.wav", text)
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound at all")
    return tmp_path / "in"


def log_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "asr-run.jsonl").open()]


def files_in(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name != "asr-run.jsonl"
    }


def test_outputs_mirror_the_inputs_and_the_log_has_a_line_for_each(recordings, tmp_path, call):
    code, out, err = call(recordings, "-o", tmp_path / "out", "-f", "txt,srt")
    assert (code, out) == (SOME_FAILED, "")
    assert "bad.wav" in err
    assert "1 of 4 inputs were not transcribed" in err
    outputs = files_in(tmp_path / "out")
    assert {name: text for name, text in outputs.items() if name.endswith("txt")} == {
        "a.txt": "ABC\n",
        "deep/b.txt": "H\n",
        "deep/c.txt": "BAD CAFE\n",
    }
    assert len(outputs) == 6
    entries = {Path(str(entry["input"])).name: entry for entry in log_of(tmp_path / "out")}
    assert len(entries) == 4
    assert entries["bad.wav"]["status"] == "failed"
    assert "bad.wav" in str(entries["bad.wav"]["error"])
    good = entries["c.wav"]
    assert (good["status"], good["error"], good["words"]) == ("ok", None, 2)
    seconds = soundfile.info(recordings / "deep" / "c.wav").duration
    assert good["declared_seconds"] == good["decoded_seconds"] == pytest.approx(seconds, abs=1e-6)
    assert good["real_time_factor"] == pytest.approx(
        good["processing_seconds"] / good["decoded_seconds"], rel=0.05
    )
    assert good["outputs"] == ["deep/c.txt", "deep/c.srt"]


def test_skip_existing_does_only_what_is_missing_changed_or_failed(recordings, tmp_path, call):
    out = tmp_path / "out"
    call(recordings, "-o", out)
    say(recordings / "bad.wav", "FACE")
    say(recordings / "deep" / "b.wav", "HEAD")
    (out / "deep" / "c.txt").unlink()
    code, _, err = call(recordings, "-o", out, "--skip-existing")
    assert code == WELL
    assert "1 inputs were done already" in err
    assert files_in(out) == {
        "a.txt": "ABC\n",
        "bad.txt": "FACE\n",
        "deep/b.txt": "HEAD\n",
        "deep/c.txt": "BAD CAFE\n",
    }
    assert len(log_of(out)) == 4 + 3
    _, _, err = call(recordings, "-o", out, "--skip-existing")
    assert "4 inputs were done already" in err
    assert len(log_of(out)) == 7


@pytest.mark.parametrize(
    "change",
    [("--max-line-width", 3), ("--channel", 1), ("--precision", "bf16"), ("--chunk-length", 30)],
)
def test_skip_existing_trusts_no_outputs_of_other_options(recordings, tmp_path, call, change):
    out = tmp_path / "out"
    (recordings / "bad.wav").unlink()
    call(recordings, "-o", out)
    _, _, err = call(recordings, "-o", out, "--skip-existing", *change)
    assert "0 inputs were done already" in err
    # More threads or larger batches change no output.
    _, _, err = call(
        recordings, "-o", out, "--skip-existing", *change, "--batch-seconds", 9, "--workers", 1
    )
    assert "3 inputs were done already" in err


def test_skip_existing_trusts_no_output_that_was_made_by_something_else(recordings, tmp_path, call):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("whisper said so\n")
    call(recordings, "-o", tmp_path / "out", "--skip-existing")
    assert files_in(tmp_path / "out")["a.txt"] == "ABC\n"


def test_on_error_stop_stops_at_the_first_failure(recordings, tmp_path, call):
    code, _, err = call(
        recordings / "bad.wav", recordings / "a.wav", "-o", tmp_path / "out", "--on-error", "stop"
    )
    assert code == SOME_FAILED
    assert "1 inputs were not tried" in err or files_in(tmp_path / "out") == {"a.txt": "ABC\n"}


def test_an_output_never_replaces_an_input(tmp_path, call):
    recording = say(tmp_path / "a.wav", "ABC")
    recording.rename(tmp_path / "a.txt")
    code = main(["transcribe", str(tmp_path / "a.txt"), "-m", str(MODEL), "-o", str(tmp_path)])
    assert code == USAGE
    assert (tmp_path / "a.txt").read_bytes().startswith(b"RIFF")


def test_a_name_that_is_no_text_is_transcribed(tmp_path, call):
    name = os.fsdecode(b"caf\xe9")
    say(tmp_path / "plain.wav", "ABC").rename(tmp_path / f"{name}.wav")
    code, out, _ = call(tmp_path / f"{name}.wav", tmp_path / f"{name}.wav")
    assert (code, out) == (WELL, "ABC\n")
    outputs = ("-o", tmp_path / "out", "-f", "json,ctm,textgrid,txt")
    assert call(tmp_path / f"{name}.wav", *outputs)[0] == WELL
    assert (tmp_path / "out" / f"{name}.txt").read_text() == "ABC\n"
    document = json.loads((tmp_path / "out" / f"{name}.json").read_text(encoding="utf-8"))
    assert document["id"] == "caf\\xe9"
    _, _, err = call(tmp_path / f"{name}.wav", *outputs, "--skip-existing")
    assert "1 inputs were done already" in err


def entry(name: str, mark: str) -> Entry:
    return Entry(name, OK, None, (), 1.0, 1.0, 0.1, 0.1, 1, ("a.txt",), mark, "2026-01-01")


def test_a_torn_last_line_of_the_log_counts_for_nothing_and_harms_nothing(tmp_path):
    (tmp_path / "a.txt").touch()
    log = RunLog(tmp_path)
    log.add(entry("a", "m1"))
    log.add(entry("b", "m2"))
    content = log.path.read_bytes()
    log.path.write_bytes(content[:-9])
    log = RunLog(tmp_path)
    assert log.is_done("a", "m1", ["a.txt"])
    assert not log.is_done("b", "m2", ["a.txt"])
    log.add(entry("c", "m3"))
    log = RunLog(tmp_path)
    assert [log.is_done(name, mark, ["a.txt"]) for name, mark in (("a", "m1"), ("c", "m3"))] == [
        True,
        True,
    ]


def test_the_last_line_of_an_input_counts(tmp_path):
    (tmp_path / "a.txt").touch()
    log = RunLog(tmp_path)
    log.add(entry("a", "old"))
    log.add(entry("a", "new"))
    log = RunLog(tmp_path)
    assert not log.is_done("a", "old", ["a.txt"])
    assert log.is_done("a", "new", ["a.txt"])
    assert not log.is_done("a", "new", ["a.txt", "a.srt"])


def test_a_fingerprint_changes_with_model_options_and_input(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"1")
    marks = [fingerprint("m", {"x": 1}, str(path)), fingerprint("n", {"x": 1}, str(path))]
    marks += [fingerprint("m", {"x": 2}, str(path)), fingerprint("m", {"x": 1}, "gone")]
    path.write_bytes(b"22")
    marks.append(fingerprint("m", {"x": 1}, str(path)))
    marks.append(fingerprint("m", {"x": 1}, str(path), by_content=True))
    assert len(set(marks)) == len(marks)
    os.utime(path, (5, 5))
    assert fingerprint("m", {"x": 1}, str(path), by_content=True) == marks[-1]
    assert fingerprint("m", {"x": 1}, str(path)) not in marks


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200 tiny recordings and what one clean run makes of them."""
    folder = tmp_path_factory.mktemp("many")
    draw = np.random.default_rng(0)
    for number in range(FILES):
        say(folder / "in" / f"{number:03d}.wav", "".join(draw.choice(list("ABCDEFGH"), 3)), number)
    process = started(folder, folder / "clean")
    assert process.wait(timeout=60) == WELL
    return folder


def started(folder: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "asr", "transcribe", str(folder / "in"), "-m", str(MODEL)]
    command += ["-o", str(out), "-q", "--batch-seconds", "2", "--device", "cpu", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, INTERRUPTED)]
)
def test_broken_off_and_gone_on_with_it_equals_one_clean_run(many, tmp_path, sign, code):
    out = tmp_path / "out"
    process = started(many, out, "--skip-existing")
    log = out / "asr-run.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and (not log.exists() or log.read_bytes().count(b"\n") < 20):
        time.sleep(0.002)
    os.killpg(process.pid, sign)
    assert process.wait(timeout=30) == code
    done = len(log_of(out))
    assert 20 <= done < FILES
    finished = {name: text for name, text in files_in(out).items() if not name.startswith(".")}
    clean = files_in(many / "clean")
    assert finished.items() <= clean.items()
    # What a process killed in mid-write would leave.
    missing = next(name for name in clean if name not in finished)
    (out / f".{missing}.999999999.part").write_text("hal")
    times = {name: (out / name).stat().st_mtime_ns for name in finished}
    assert started(many, out, "--skip-existing").wait(timeout=60) == WELL
    assert files_in(out) == clean
    logged = [str(each["input"]) for each in log_of(out)]
    assert len(logged) == len(set(logged)) == FILES
    again = {n for n, before in times.items() if (out / n).stat().st_mtime_ns != before}
    # At most the output whose line in the log was just being written.
    assert len(again) <= 1
    assert len(clean) == FILES


def test_standard_input_is_transcribed_whatever_its_container(tmp_path):
    av = pytest.importorskip("av")
    assert av
    path = tmp_path / "a.webm"
    encode_file(path, resample(speak_tones("BAD CAFE", 0), SAMPLE_RATE, 16000), 16000, 1, "webm")
    command = [sys.executable, "-m", "asr", "transcribe", "-", "-m", str(MODEL), "--device", "cpu"]
    with path.open("rb") as stream:
        result = subprocess.run(command, stdin=stream, capture_output=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (WELL, b"BAD CAFE\n", b"")


def test_several_transcripts_on_standard_output_are_lines_in_the_order_of_the_inputs(
    recordings, call
):
    code, out, _ = call(recordings / "deep", recordings / "bad.wav", recordings / "a.wav")
    assert code == SOME_FAILED
    assert out.splitlines() == [
        f"{recordings}/deep/b.wav\tH",
        f"{recordings}/deep/c.wav\tBAD CAFE",
        f"{recordings}/a.wav\tABC",
    ]
    _, out, _ = call(recordings / "deep", "-f", "jsonl")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["b", "c"]


def test_nothing_found_is_wrong_usage(tmp_path, call):
    (tmp_path / "letters").mkdir()
    code, out, err = call(tmp_path / "letters", tmp_path / "*.wav", "-o", tmp_path / "out")
    assert (code, out) == (USAGE, "")
    assert "holds no audio or video" in err
    assert "nothing matches it" in err
    assert "there is nothing to transcribe" in err
    assert not (tmp_path / "out").exists()
