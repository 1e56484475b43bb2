"""Every format gives the text of the recording; damage is told with its figure and stops nobody."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from golden.voice import SAMPLE_RATE, speak_tones
from sound_files import (
    CHANNELS,
    FORMATS,
    LOSSLESS,
    MEDIA,
    RATES,
    CannotEncodeError,
    encode_file,
    encode_media,
)

from asr import audio, media
from asr.cli import main
from asr.recognizer import Recognizer
from asr.resampling import resample

pytest.importorskip("av")

MODEL = Path(__file__).parent / "golden" / "model"
TEXT = "BAD CAFE"
WELL, SOME_FAILED = 0, 1
# Not in the file: FFmpeg's WMA encoder drops its last frame, 64 ms at 8 kHz.
TOLERANCE_SECONDS = {"wma": 0.065}
# Their noise fills the pauses, and the toy model hears letters in it; tools/benchmark/formats.py
# tells what becomes of real speech.
NOISY = ("u8.wav", "ima.wav", "ms.wav", "gsm.wav")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """One utterance in all formats, rates and numbers of channels; the transcript or a reason."""
    folder = tmp_path_factory.mktemp("formats")
    spoken = 0.9 * speak_tones(TEXT, 0)
    found, paths = {}, {}
    for rate in RATES:
        waveform = resample(spoken.astype(np.float32), SAMPLE_RATE, rate)
        for channels in CHANNELS:
            for kind in FORMATS:
                path = folder / f"{rate}-{channels}.{kind}"
                try:
                    encode_file(path, waveform, rate, channels, kind)
                    paths[kind, rate, channels] = path
                except CannotEncodeError as error:
                    found[kind, rate, channels] = str(error)
    recognizer = Recognizer.load(MODEL, device="cpu")
    transcripts = recognizer.transcribe_many(list(paths.values()), batch_seconds=60.0)
    return found | dict(zip(paths, transcripts, strict=True)), len(spoken) / SAMPLE_RATE


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_rate_and_number_of_channels_gives_the_text(matrix, kind, rate, channels):
    found, seconds = matrix
    transcript = found[kind, rate, channels]
    if isinstance(transcript, str):
        pytest.skip(f"cannot be encoded here: {transcript}")
    assert transcript.error is None
    assert transcript.warnings == ()
    tolerance = 0.001 if kind in LOSSLESS else TOLERANCE_SECONDS.get(kind, 0.05)
    assert transcript.decoded_seconds == pytest.approx(seconds, abs=tolerance)
    if kind not in NOISY:
        assert transcript.text == found["flac", 16000, 1].text == TEXT


def test_what_cannot_be_encoded_here_is_but_a_corner(matrix):
    found, _ = matrix
    for kind in FORMATS:
        assert not isinstance(found[kind, 16000, 1], str), kind
    assert sum(isinstance(each, str) for each in found.values()) <= 50


@pytest.fixture
def without_av(monkeypatch):
    for module in (audio, media):
        monkeypatch.setattr(module, "media_installed", lambda: False)


def test_without_the_extra_the_common_formats_work_and_others_name_it(without_av, tmp_path):
    waveform = resample(speak_tones(TEXT, 0), SAMPLE_RATE, 16000)
    paths = [tmp_path / f"a.{kind}" for kind in FORMATS]
    for kind, path in zip(FORMATS, paths, strict=True):
        encode_file(path, waveform, 16000, 1, kind)
    found = Recognizer.load(MODEL, device="cpu").transcribe_many(paths)
    for kind, transcript in zip(FORMATS, found, strict=True):
        if kind in MEDIA:
            assert "pip install av (the extra 'media')" in transcript.error
        else:
            assert transcript.error is None
            assert kind in NOISY or transcript.text == TEXT


@pytest.fixture
def call(capsys):
    """Run `asr transcribe` in this process and give exit code, stdout and stderr."""

    def run(*words):
        code = main(["transcribe", *map(str, words), "-m", str(MODEL), "--device", "cpu"])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize("channel", [1, 2])
@pytest.mark.parametrize("kind", ["16.wav", "flac", "alac.m4a", "mkv", "mp4"])
def test_each_channel_can_be_transcribed_alone(tmp_path, call, kind, channel):
    path = two_voices(tmp_path, kind)
    assert call(path, "--channel", channel)[1] == ("ABC\n" if channel == 1 else "HEAD\n")


def two_voices(folder: Path, kind: str) -> Path:
    """A recording with ABC on its first channel and HEAD on its second."""
    first, second = (speak_tones(text, 3) for text in ("ABC", "HEAD"))
    hiss = np.random.default_rng(0).uniform(-0.003, 0.003, len(second) + 4000)
    second = np.concatenate([hiss[:4000], second])
    first = np.concatenate([first, hiss[len(first) :]])
    path = folder / f"two.{kind}"
    both = np.stack([first, second], 1)
    if kind in MEDIA:
        container, codec, video = MEDIA[kind]
        encode_media(path, both, SAMPLE_RATE, 2, container, codec, video)
    else:
        soundfile.write(path, both, SAMPLE_RATE)
    return path


def test_split_channels_are_labelled_and_in_order_of_time(tmp_path, call):
    path = two_voices(tmp_path, "16.wav")
    code, out, _ = call(path, "--channel", "split")
    assert (code, out) == (WELL, "channel 1: ABC\nchannel 2: HEAD\n")
    assert call(path, "-o", tmp_path / "out", "-f", "json", "--channel", "split")[0] == WELL
    document = json.loads((tmp_path / "out" / "two.16.json").read_text())
    assert [(s["channel"], s["text"]) for s in document["segments"]] == [
        ("1", "ABC"),
        ("2", "HEAD"),
    ]
    assert document["segments"][0]["start"] < document["segments"][1]["start"]
    assert (document["channel"], document["text"]) == ("split", "ABC\nHEAD")


def test_a_channel_that_is_not_there_is_told(tmp_path, call):
    path = two_voices(tmp_path, "16.wav")
    code, out, err = call(path, "--channel", "3")
    assert (code, out) == (SOME_FAILED, "")
    assert "has no channel 3; expected 1 to 2" in err


LONG = "ECCGB CABCF E DBGGB ACB GEEC EHBG AC HGAGGD C HH FDB HCEF BCF B F H F F DHBCFF AB FGFH"


@pytest.fixture(scope="module")
def long_waveform():
    return resample(speak_tones(LONG, 5), SAMPLE_RATE, 16000)


def overwrite_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = np.random.default_rng(1).bytes(4096)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def heard_of(text: str) -> float:
    """Tell the share of the long text whose words were heard, in order."""
    words, position = LONG.split(), 0
    for word in text.split():
        if word in words[position:]:
            position = words.index(word, position) + 1
    return len([word for word in text.split() if word in words]) / len(words)


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_four_damaged_kilobytes_are_told_and_the_rest_is_transcribed(
    long_waveform, tmp_path, call, kind
):
    path = tmp_path / f"long.{kind}"
    encode_file(path, long_waveform, 16000, 1, kind)
    overwrite_middle(path)
    code, out, err = call(path)
    assert code == WELL
    assert "of its" in err
    assert "lacks" in err
    assert heard_of(out) > 0.7


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_of_every_container_is_told_with_what_is_left(
    long_waveform, tmp_path, call, kind
):
    path, good = tmp_path / f"long.{kind}", tmp_path / "good.wav"
    encode_file(path, long_waveform, 16000, 1, kind)
    cut(path)
    soundfile.write(good, speak_tones(TEXT, 0), SAMPLE_RATE)
    code, out, err = call(path, good)
    assert f"{good}\t{TEXT}\n" in out
    assert path.name in err
    if code == WELL:
        assert any(sign in err for sign in ("lacks", "last page", "is damaged"))
        text = out.splitlines()[0].split("\t")[1]
        assert 0.3 < heard_of(text) < 0.8
    else:
        # MPEG-4 has its index at the end: without it nothing can be decoded.
        assert kind in ("aac.m4a", "alac.m4a", "mp4")
        assert "1 of 2 inputs were not transcribed" in err


def lying_header(path: Path) -> None:
    soundfile.write(path, speak_tones(TEXT, 0), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    data[40:44] = (10 * len(data)).to_bytes(4, "little")
    path.write_bytes(data)


def no_sound(path: Path) -> None:
    encode_media(path, np.zeros(8000, np.float32), 8000, 1, "mp4", "aac", video=True, sound=False)


def header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), SAMPLE_RATE)


def unreadable(path: Path) -> None:
    soundfile.write(path, speak_tones(TEXT, 0), SAMPLE_RATE)
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.symlink_to(path.name)


BAD = {
    "empty.wav": (lambda path: path.touch(), "is empty (0 bytes)"),
    "noise.mp3": (
        lambda path: path.write_bytes(np.random.default_rng(2).bytes(20000)),
        "no audio that",
    ),
    "silent.mp4": (no_sound, "holds no audio that can be decoded"),
    "zero.wav": (header_only, "holds 0 audio samples"),
    "secret.wav": (unreadable, "cannot be read"),
}


def test_bad_files_are_each_told_in_a_sentence_and_the_others_are_transcribed(tmp_path, call):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (make, _) in BAD.items():
        make(folder / name)
    soundfile.write(folder / "good.wav", speak_tones(TEXT, 0), SAMPLE_RATE)
    (folder / "good.wav").rename(folder / "wrong.mp3")
    lying_header(folder / "lies.wav")
    latin = os.fsdecode(b"caf\xe9.flac")
    soundfile.write(folder / "x.flac", speak_tones("ABC", 0), SAMPLE_RATE)
    (folder / "x.flac").rename(folder / latin)
    (folder / "circle").symlink_to(folder)
    code, out, err = call(folder, "-o", tmp_path / "out")
    assert (code, out) == (SOME_FAILED, "")
    for name, (_, sentence) in BAD.items():
        (line,) = [line for line in err.splitlines() if name in line]
        assert sentence in line
    assert f"{len(BAD)} of {len(BAD) + 3} inputs were not transcribed" in err
    assert "circle leads back" in err
    (warning,) = [line for line in err.splitlines() if "lies.wav" in line]
    assert "lacks" in warning
    texts = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.txt")}
    assert texts == {
        "wrong.txt": f"{TEXT}\n",
        "lies.txt": f"{TEXT}\n",
        latin.replace("flac", "txt"): "ABC\n",
    }
    entries = [json.loads(line) for line in (tmp_path / "out" / "asr-run.jsonl").open()]
    assert sum(entry["status"] == "failed" for entry in entries) == len(BAD)
    assert {Path(entry["input"]).name for entry in entries} == {
        *(*BAD, "wrong.mp3", "lies.wav", latin)
    }


def test_a_minute_of_silence_has_no_words():
    # What other sounds without speech give depends on the model; tools/benchmark/transcribing.py
    # tells of them.
    silence = np.zeros(60 * SAMPLE_RATE, np.float32)
    transcript = Recognizer.load(MODEL, device="cpu").transcribe(silence, SAMPLE_RATE)
    assert (transcript.text, transcript.segments) == ("", ())
