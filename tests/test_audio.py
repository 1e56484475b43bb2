"""Audio in every common format comes in whole, damage is told, and blocks equal the whole."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_files import encode_media

from asr import audio, media
from asr.audio import load_waveform, probe_audio, read_audio, read_raw_pcm, stream_audio, write_flac
from asr.errors import AudioError

av = pytest.importorskip("av")

SOUNDFILE_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
MEDIA_CODECS = {"m4a": "aac", "webm": "libopus", "mp4": "aac", "wma": "wmav2", "mkv": "pcm_s16le"}


def sine(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * rate))
    return (0.1 * samples).astype(np.float32)


def write_sound(path: Path, samples: np.ndarray) -> None:
    container, subtype = SOUNDFILE_FORMATS[path.name.split(".", 1)[1]]
    soundfile.write(path, samples, 16000, subtype, format=container)


def write_media(path: Path, samples: np.ndarray, rate: int, channels: int) -> None:
    codec = MEDIA_CODECS[path.suffix[1:]]
    layout = {1: "mono", 2: "stereo"}[channels]
    container_format = {".mkv": "matroska", ".wma": "asf"}.get(path.suffix)
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64000
        pcm = np.rint(samples * 32767).astype(np.int16)
        packed = np.repeat(pcm, channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = rate
        for flushed in (frame, None):
            container.mux(stream.encode(flushed))


def overwrite_middle(path: Path, count: int = 4096) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + count] = np.random.default_rng(1).bytes(count)
    path.write_bytes(data)


def cut(path: Path, kept: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    return path


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (audio, media):
        monkeypatch.setattr(module, "media_installed", lambda: False)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", SOUNDFILE_FORMATS)
def test_every_soundfile_format_gives_the_sine_that_was_written(tmp_path, name, channels):
    path = tmp_path / f"a.{name}"
    written = sine(1.5, 16000)
    write_sound(path, np.stack([written] * channels, 1))
    result = read_audio(path, 16000)
    assert result.waveform.dtype == np.float32
    assert result.waveform.shape == written.shape
    tolerance = 0.05 if name in ("mp3", "ogg", "opus") else 1e-4
    assert np.abs(result.waveform - written)[1000:-1000].max() < tolerance
    assert result.declared_seconds == result.decoded_seconds == 1.5
    assert not result.warnings
    assert np.array_equal(load_waveform(path, 16000), result.waveform)


@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (16000, 2), (8000, 1)])
@pytest.mark.parametrize("name", MEDIA_CODECS)
def test_every_media_format_gives_the_sine_that_was_written(tmp_path, name, rate, channels):
    path = tmp_path / f"a.{name}"
    write_media(path, sine(1.5, rate), rate, channels)
    waveform = load_waveform(path, 16000)
    assert abs(len(waveform) / 16000 - 1.5) < 0.2
    # Encoder delay shifts the phase but neither pitch nor level.
    middle = waveform[4000:20000] * np.hanning(16000)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert np.sqrt(np.mean(waveform[4000:20000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_channels_are_averaged(tmp_path):
    left, right, centre = sine(0.2, 16000), sine(0.2, 16000, 990.0), sine(0.2, 16000, 150.0)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([left, right, centre], 1), 16000, "DOUBLE")
    assert np.abs(read_audio(path).waveform - (left + right + centre) / 3).max() < 1e-6


def test_an_mp3_named_wav_is_read_by_its_content(speech):
    path = speech / "formats" / "mp3_named_wav.wav"
    result = read_audio(path, 16000)
    assert probe_audio(path).format == "MP3"
    assert len(result.waveform) > 16000
    assert not result.warnings


def test_the_header_tells_rate_channels_and_length(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((44100, 2)), 44100)
    info = probe_audio(path)
    assert (info.sample_rate, info.channels, info.frames) == (44100, 2, 44100)
    assert (info.duration_seconds, info.format) == (1.0, "FLAC")
    assert read_audio(path, None).sample_rate == 44100


@pytest.mark.parametrize("block_seconds", [0.0137, 0.5, 1.0, 60.0])
@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg", "m4a"])
@pytest.mark.parametrize("target_rate", [16000, 11025])
def test_blocks_joined_are_the_whole(tmp_path, name, target_rate, block_seconds):
    path = tmp_path / f"a.{name}"
    if name == "m4a":
        write_media(path, noise(3, 16000), 16000, 2)
    else:
        soundfile.write(path, np.stack([noise(6, 16000)] * 2, 1), 16000)
    whole = read_audio(path, target_rate)
    stream = stream_audio(path, target_rate, block_seconds)
    blocks = list(stream)
    assert {len(block) for block in blocks[:-1]} <= {round(block_seconds * target_rate)}
    assert np.array_equal(np.concatenate(blocks), whole.waveform)
    assert stream.decoded_seconds == whole.decoded_seconds
    assert stream.declared_seconds == whole.declared_seconds


def test_blocks_of_an_mp3_join_without_a_seam(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.stack([noise(10, 44100)] * 2, 1), 44100)
    in_one_read = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    assert np.abs(read_audio(path).waveform - in_one_read).max() < 1e-6


def test_streaming_holds_no_more_than_a_few_blocks(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16000 * 600, np.int16), 16000)
    tracemalloc.start()
    samples = sum(len(block) for block in stream_audio(path, 8000, 5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 8000 * 600
    assert peak < 4e6


@pytest.mark.parametrize("name", ["mp3", "flac"])
def test_four_damaged_kilobytes_cost_little_and_are_told(tmp_path, name):
    path = tmp_path / f"a.{name}"
    soundfile.write(path, noise(30, 16000), 16000)
    sound = read_audio(path, 16000).waveform
    overwrite_middle(path)
    result = read_audio(path, 16000)
    missing = result.declared_seconds - result.decoded_seconds
    assert 0.1 < missing < 2
    assert len(result.waveform) == round(result.decoded_seconds * 16000)
    assert f"lacks {missing:.2f} of its 30.00 s" in result.warnings[0]
    assert np.abs(result.waveform[:160000] - sound[:160000]).max() < 1e-3
    # What follows the damage is there too; an MP3's padding may stand behind it.
    likeness = np.correlate(result.waveform[-16000:], sound[-12000:-4000], "valid")
    assert likeness.max() > 0.95 * np.sum(sound[-12000:-4000] ** 2)
    with pytest.raises(AudioError, match="lacks"):
        load_waveform(path, 16000)
    streamed = stream_audio(path, 16000, 1.0)
    assert np.array_equal(np.concatenate(list(streamed)), result.waveform)
    assert streamed.warnings == result.warnings


@pytest.mark.parametrize("name", ["mp3", "flac"])
def test_without_pyav_damage_ends_the_sound_and_names_the_extra(tmp_path, without_av, name):
    path = tmp_path / f"a.{name}"
    soundfile.write(path, noise(30, 16000), 16000)
    overwrite_middle(path)
    result = read_audio(path, 16000)
    assert 8 < result.decoded_seconds < 16
    assert "pip install av" in result.warnings[0]


@pytest.mark.parametrize("name", ["wav", "flac", "aiff", "sph", "mp3"])
def test_a_cut_file_gives_what_is_left_and_tells_what_is_missing(tmp_path, name):
    path = tmp_path / f"a.{name}"
    write_sound(path, noise(10, 16000))
    result = read_audio(cut(path, 0.6), 16000)
    assert result.declared_seconds == pytest.approx(10, abs=1e-3)
    assert result.decoded_seconds == pytest.approx(6, abs=0.3)
    assert "of its 10.00 s" in result.warnings[0]
    with pytest.raises(AudioError, match="lacks"):
        load_waveform(path, 16000)


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_a_cut_ogg_is_known_by_its_missing_last_page(tmp_path, name):
    path = tmp_path / f"a.{name}"
    write_sound(path, noise(10, 16000))
    assert "last page" in read_audio(cut(path, 0.6), 16000).warnings[0]


def strip_length_header(path: Path) -> None:
    data = path.read_bytes()
    second_frame = data.index(data[:2], max(data.find(b"Xing"), data.find(b"Info")))
    path.write_bytes(data[second_frame:])


def test_an_mp3_without_a_length_header_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.mp3"
    samples = np.concatenate([noise(10, 44100), np.zeros(44100 * 20, np.float32)])
    soundfile.write(path, samples, 44100, bitrate_mode="VARIABLE")
    strip_length_header(path)
    result = read_audio(path, 16000)
    assert result.declared_seconds is None
    assert result.decoded_seconds == pytest.approx(30, abs=0.1)
    assert not result.warnings


def test_without_pyav_an_mp3_without_a_length_header_is_doubted(tmp_path, without_av):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(3, 16000), 16000)
    strip_length_header(path)
    assert "pip install av" in read_audio(path, 16000).warnings[0]


def test_joined_mp3_files_are_read_past_the_first(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(5, 16000), 16000)
    path.write_bytes(path.read_bytes() * 2)
    assert read_audio(path, 16000).decoded_seconds == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_a_wav_whose_writer_never_filled_in_its_size_is_read_whole(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(2, 16000), 16000, "PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[:40] + size + data[44:])
    result = read_audio(path, 16000)
    assert (result.decoded_seconds, result.warnings) == (2.0, ())


def lie_in_wav(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + (32000).to_bytes(4, "little") + data[44:])


def lie_in_flac(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # 36 bits behind block sizes, frame sizes, rate, channels and bits.
    data[22:26] = (16000).to_bytes(4, "big")
    path.write_bytes(data)


def test_a_flac_that_is_longer_than_its_header_says_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(5, 16000), 16000)
    sound = read_audio(path, 16000)
    assert sound.warnings == ()
    lie_in_flac(path)
    result = read_audio(path, 16000)
    assert np.array_equal(result.waveform, sound.waveform)
    assert "holds 4.00 s more than the 1.00 s" in result.warnings[0]


def test_without_pyav_a_flac_that_is_longer_than_its_header_says_is_doubted(tmp_path, without_av):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(5, 16000), 16000)
    lie_in_flac(path)
    result = read_audio(path, 16000)
    assert "says that it has 1.00 s, but its last frame begins at 4." in result.warnings[0]
    assert "pip install av" in result.warnings[0]
    with pytest.raises(AudioError, match="last frame"):
        load_waveform(path, 16000)


def test_a_wav_that_is_longer_than_its_header_says_is_doubted(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(5, 16000), 16000, "PCM_16")
    assert read_audio(path, 16000).warnings == ()
    lie_in_wav(path)
    result = read_audio(path, 16000)
    assert result.decoded_seconds == 1.0
    assert "128000 bytes that belong to nothing" in result.warnings[0]


def header_only_flac(path: Path) -> None:
    soundfile.write(path, np.zeros(16000), 16000)
    path.write_bytes(path.read_bytes()[: 4 + 4 + 34])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.wav": (lambda path: None, "does not exist"),
    "folder.wav": (lambda path: path.mkdir(), "is a directory"),
    "empty.wav": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "text.wav": (lambda path: path.write_text("Dear Sir, " * 99), "begins with b'Dear Sir'"),
    "text.txt": (lambda path: path.write_text("Dear Sir, " * 99), "is no audio|holds no audio"),
    "zero.wav": (lambda path: soundfile.write(path, np.zeros(0), 16000), "holds 0 audio samples"),
    "zero.flac": (header_only_flac, "holds 0 audio samples"),
    "an4.raw": (lambda path: path.write_bytes(b"\0\1" * 99), "headerless.*read_raw_pcm"),
    "nan.wav": (
        lambda path: soundfile.write(path, np.array([0, 0, 0, 0, np.nan]), 4, "FLOAT"),
        r"NaN or infinite sample at 1\.000 s",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path, name):
    make, sentence = BAD_FILES[name]
    path = tmp_path / name
    make(path)
    for read in (read_audio, load_waveform, lambda *file: list(stream_audio(*file))):
        with pytest.raises(AudioError, match=sentence) as caught:
            read(path, 16000)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(0.1, 16000), 16000)
    path.chmod(0)
    if os.access(path, os.R_OK):  # The superuser reads everything.

        def deny(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(AudioError, match="cannot be read: Permission denied"):
        read_audio(path, 16000)


def test_without_pyav_an_m4a_names_the_extra(tmp_path, without_av):
    path = tmp_path / "a.m4a"
    write_media(path, sine(0.5, 16000), 16000, 1)
    with pytest.raises(AudioError, match="pip install av"):
        read_audio(path, 16000)


def test_written_flac_returns_sixteen_bit_samples_exactly(tmp_path):
    integers = np.random.default_rng(0).integers(-32768, 32768, 5000)
    waveform = (integers / 32768).astype(np.float32)
    write_flac(tmp_path / "a.flac", waveform, 16000)
    assert np.array_equal(load_waveform(tmp_path / "a.flac", 16000), waveform)
    assert [file.name for file in tmp_path.iterdir()] == ["a.flac"]


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros((5, 2)), np.array([0, np.inf])])
def test_an_impossible_waveform_is_not_written(tmp_path, waveform):
    with pytest.raises(AudioError):
        write_flac(tmp_path / "a.flac", waveform.astype(np.float32), 16000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("byte_order", ["big", "little"])
def test_raw_samples_are_read_in_the_given_byte_order(tmp_path, byte_order):
    integers = [0, 1, -1, 256, -32768, 32767]
    path = tmp_path / "a.raw"
    path.write_bytes(b"".join(i.to_bytes(2, byte_order, signed=True) for i in integers))
    waveform = read_raw_pcm(path, 16000, byte_order)
    assert waveform.dtype == np.float32
    assert (waveform * 32768).tolist() == integers


def test_raw_samples_of_an_odd_size_are_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"123")
    with pytest.raises(AudioError, match="3 bytes"):
        read_raw_pcm(tmp_path / "a.raw")


def test_reading_audio_needs_no_torch():
    code = "import sys, asr.audio; assert 'torch' not in sys.modules and 'av' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "GSM610"])
def test_the_filling_of_the_last_block_of_a_compressed_wav_is_no_sound(tmp_path, subtype):
    path = tmp_path / "a.wav"
    written = sine(1.2345, 8000)
    soundfile.write(path, written, 8000, subtype)
    result = read_audio(path, 8000)
    assert len(result.waveform) == len(written)
    assert result.declared_seconds == result.decoded_seconds == len(written) / 8000
    assert not result.warnings
    assert np.corrcoef(result.waveform, written)[0, 1] > 0.9


def test_a_fact_that_is_far_from_the_sound_is_not_believed(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(2.0, 8000), 8000, "MS_ADPCM")
    data = path.read_bytes()
    at = data.index(b"fact") + 8
    path.write_bytes(data[:at] + (4000).to_bytes(4, "little") + data[at + 4 :])
    assert read_audio(path, 8000).decoded_seconds >= 2.0


def test_what_aac_adds_at_either_end_is_no_sound(tmp_path):
    path = tmp_path / "a.m4a"
    encode_media(path, sine(1.5, 16000), 16000, 1, "ipod", "aac")
    assert read_audio(path, 16000).decoded_seconds == pytest.approx(1.5, abs=0.001)


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_one_channel_is_taken_as_it_is(tmp_path, name):
    path = tmp_path / name
    both = np.stack([sine(0.3, 16000), sine(0.3, 16000, 990.0)], 1)
    if name == "a.wav":
        soundfile.write(path, both, 16000, "FLOAT")
    else:
        encode_media(path, both, 16000, 2, "matroska", "pcm_s16le")
    for channel in (1, 2):
        block = np.concatenate(list(stream_audio(path, 16000, channel=channel)))
        assert np.abs(block - both[:, channel - 1]).max() < 1e-4
    with pytest.raises(AudioError, match="no channel 3; expected 1 to 2"):
        stream_audio(path, 16000, channel=3)
