"""The spoken corpus: the same every time, laid out as LibriSpeech, with true word times."""

import pickle
import random
import re
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile

from asr.corpora.census import CENSUS_SCRIPT, LETTERS, MONTHS, compose_entry, say_word
from asr.corpora.reading import (
    MEN,
    NOISE_DB,
    PEAKS,
    WOMEN,
    Script,
    SpokenSplit,
    read_aloud,
    spoken_speakers,
)
from asr.corpora.spoken import SPOKEN_SCRIPT, compose_sentence
from asr.errors import AudioError, UsageError
from asr.numerals import spell_ordinal
from asr.pronunciation import pronounce
from asr.scoring.timed import read_ctm
from asr.synthesis import Voice, synthesize

SMALL = {"train": SpokenSplit(3, 2), "test": SpokenSplit(1, 2)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spoken")
    read_aloud(root, SPOKEN_SCRIPT, SMALL, jobs=2)
    return root / "LibriSpeech"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_another_run_in_one_process_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    read_aloud(tmp_path, SPOKEN_SCRIPT, SMALL, jobs=1)
    assert contents(tmp_path / "LibriSpeech") == contents(corpus)


def test_another_seed_gives_other_sentences_and_voices(corpus: Path, tmp_path: Path) -> None:
    read_aloud(tmp_path, SPOKEN_SCRIPT, SMALL, seed=2, jobs=1)
    other = contents(tmp_path / "LibriSpeech")
    assert other.keys() == contents(corpus).keys()
    assert all(data != contents(corpus)[name] for name, data in other.items())


def test_every_path_is_one_of_librispeech(corpus: Path) -> None:
    pattern = re.compile(
        r"(train|test)/(\d+)/(\d+)/\2-\3(-\d{4}\.flac|\.trans\.txt|\.ctm)|SPEAKERS\.TXT"
    )
    names = contents(corpus)
    assert len(names) == 4 * (2 + 2) + 1
    assert all(pattern.fullmatch(name) for name in names)


def test_the_times_of_all_words_lie_within_their_recordings(corpus: Path) -> None:
    for path in corpus.rglob("*.ctm"):
        texts = dict(line.split(" ", 1) for line in open_lines(path.with_suffix(".trans.txt")))
        timed = read_ctm(path, {})
        assert timed.texts == texts
        for identity, times in timed.word_times.items():
            seconds = soundfile.info(path.parent / f"{identity}.flac").duration
            assert 0.1 <= times[0][0] <= 0.3
            ends = [start + duration for start, duration in times]
            assert all(
                abs(end - start) < 1e-3
                for end, (start, _) in zip(ends[:-1], times[1:], strict=True)
            )
            assert ends[-1] < seconds - 0.05


def open_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_audio_is_16_khz_16_bit_mono_flac_and_not_clipped(corpus: Path) -> None:
    for path in corpus.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        samples = soundfile.read(path, dtype="int16")[0]
        assert 1000 < np.abs(samples.astype(int)).max() < 32767


def test_speaker_table_has_the_official_columns_and_true_minutes(corpus: Path) -> None:
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    assert ";ID  |SEX| SUBSET           |MINUTES| NAME" in lines
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line[0] != ";"]
    assert len(rows) == 4
    for identity, sex, split, minutes, _name in rows:
        files = list((corpus / split / identity).rglob("*.flac"))
        seconds = sum(soundfile.info(path).duration for path in files)
        assert sex in "FM" and abs(float(minutes) - seconds / 60) <= 0.005


def test_speaker_table_has_the_header_of_the_real_one(corpus: Path, speech: Path) -> None:
    bars = []
    for folder in (corpus, speech / "LibriSpeech"):
        lines = (folder / "SPEAKERS.TXT").read_text().splitlines()
        head = next(number for number, line in enumerate(lines) if line.startswith(";ID"))
        row = lines[head + 1]
        bars.append((lines[head], [place for place, sign in enumerate(row) if sign == "|"]))
    assert bars[0] == bars[1]


def test_no_voice_speaks_for_two_speakers() -> None:
    speakers = spoken_speakers({"train": SpokenSplit(80, 1), "dev": SpokenSplit(19, 1)})
    assert len({speaker.voice.name for speaker in speakers}) == 99


def test_more_speakers_than_voices_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="voices for 99"):
        read_aloud(tmp_path, SPOKEN_SCRIPT, {"train": SpokenSplit(100, 1)})
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "LibriSpeech/dev-clean").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        read_aloud(tmp_path, SPOKEN_SCRIPT, SMALL)
    assert (tmp_path / "LibriSpeech/dev-clean").is_dir()


def test_a_speaker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    # An accent that does not exist makes the worker processes fail.
    with pytest.raises(AudioError, match="no voice 'martian"):
        read_aloud(tmp_path, Script(compose_sentence, accents=("martian",)), SMALL, jobs=2)
    assert not list(tmp_path.iterdir())


def test_the_grammar_has_forty_words_in_upper_case() -> None:
    draw = random.Random(0)
    sentences = [compose_sentence(draw).split() for _ in range(5000)]
    words = {word for sentence in sentences for word in sentence}
    assert len(words) == 40
    assert all(word.isalpha() and word.isupper() for word in words)
    assert {len(sentence) for sentence in sentences} <= set(range(2, 12))


def test_speech_does_not_depend_on_what_was_spoken_before() -> None:
    voices = [Voice("en-us+klatt", 60, 20, 150), Voice("en+f3", 40, 70, 200), Voice("en-us+m1")]
    alone = [synthesize("PLAY THE MUSIC", voice).waveform for voice in voices]
    for voice, waveform in reversed(list(zip(voices, alone, strict=True))):
        assert np.array_equal(synthesize("PLAY THE MUSIC", voice).waveform, waveform)


def test_no_voice_of_the_corpora_depends_on_the_voices_before_it() -> None:
    voices = [Voice(f"en-us+{variant}", 63, 51, 174) for variant in (*WOMEN, *MEN)]
    first = [synthesize("OPEN THE DOOR", voice).waveform for voice in voices]
    again = [synthesize("OPEN THE DOOR", voice).waveform for voice in reversed(voices)]
    for voice, one, other in zip(voices, first, reversed(again), strict=True):
        assert np.array_equal(one, other), voice.name


def test_every_word_has_a_time_even_where_espeak_melts_two() -> None:
    speech = synthesize("TURN ON THE RED LIGHT IN THE KITCHEN", Voice("en-us"))
    assert " ".join(w.word for w in speech.words) == "TURN ON THE RED LIGHT IN THE KITCHEN"
    assert all(0.03 < w.end_seconds - w.start_seconds < 0.6 for w in speech.words)
    ends = [w.end_seconds for w in speech.words]
    assert [w.start_seconds for w in speech.words] == [0.0, *ends[:-1]]
    assert ends[-1] <= len(speech.waveform) / speech.sample_rate


def test_words_sound_where_their_times_say() -> None:
    speech = synthesize("PLAY STOP PLAY STOP STOP PLAY", Voice("en-us+m3"))

    def hiss(start_seconds: float) -> float:
        start = round(start_seconds * speech.sample_rate)
        power = np.abs(np.fft.rfft(speech.waveform[start : start + 1764])) ** 2
        return float(power[320:].sum() / power.sum())  # above 4 kHz in 80 ms

    begins = {
        word: [hiss(w.start_seconds) for w in speech.words if w.word == word]
        for word in ("STOP", "PLAY")
    }
    assert min(begins["STOP"]) > 5 * max(begins["PLAY"])


def test_a_long_path_of_the_data_is_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = synthesize("STOP", Voice("en+f2")).waveform
    data = Path(espeakng_loader.get_data_path())
    folder = tmp_path / ("long" * 30) / ("longer" * 20)
    folder.mkdir(parents=True)
    (folder / data.name).symlink_to(data)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(folder / data.name))
    assert np.array_equal(synthesize("STOP", Voice("en+f2")).waveform, expected)


@pytest.mark.parametrize(
    ("text", "voice", "complaint"),
    [
        ("STOP", "martian", "no voice 'martian'"),
        ("STOP", "en-us+nobody", "no voice 'en-us\\+nobody'"),
        ("  ", "en-us", "nothing to speak"),
        ("IN 1984", "en-us", "write numbers and signs as words"),
    ],
)
def test_what_cannot_be_spoken_is_refused(text: str, voice: str, complaint: str) -> None:
    with pytest.raises(AudioError, match=complaint):
        synthesize(text, Voice(voice))


def test_the_census_says_all_dates_and_letters_and_nothing_else() -> None:
    draw = random.Random(0)
    entries = [compose_entry(draw) for _ in range(20_000)]
    words = {word for entry in entries for word in entry.split()}
    ordinals = {w for day in range(1, 32) for w in spell_ordinal(str(day)).upper().split()}
    assert words >= set(LETTERS) | set(MONTHS) | ordinals
    # Letters, months, ordinals but their tens, cardinals with OH and tens, and ten commands.
    assert len(words) == 26 + 12 + 21 + 29 + 10
    assert all(1 <= len(entry.split()) <= 10 for entry in entries)


@pytest.mark.parametrize("word", [*LETTERS, "RUBOUT"])
def test_letters_are_said_by_their_names(word: str) -> None:
    said = pronounce([say_word(word)])[say_word(word)]
    # Alone a letter is no article; and a word is no letter.
    names = pronounce([word.lower(), "rub", "out"])
    assert said == (names["rub"] + names["out"] if word == "RUBOUT" else names[word.lower()])


def test_the_census_sounds_recorded_and_its_words_have_times(tmp_path: Path) -> None:
    size = {"train": SpokenSplit(4, 6)}
    read_aloud(tmp_path / "a", CENSUS_SCRIPT, size, jobs=2)
    read_aloud(tmp_path / "b", CENSUS_SCRIPT, size, jobs=1)
    folder = tmp_path / "a/LibriSpeech"
    assert contents(folder) == contents(tmp_path / "b/LibriSpeech")
    for path in folder.rglob("*.ctm"):
        texts = dict(line.split(" ", 1) for line in open_lines(path.with_suffix(".trans.txt")))
        assert read_ctm(path, {}).texts == texts
    for path in folder.rglob("*.flac"):
        sound, rate = soundfile.read(path)
        assert rate == 16000
        assert PEAKS[0] * 0.98 < np.abs(sound).max() < PEAKS[1] * 1.02
        # The breath before and behind is noise alone.
        noise = np.concatenate([sound[:1500], sound[-1500:]])
        snr_db = 10 * np.log10(np.mean(sound**2) / np.mean(noise**2))
        assert NOISE_DB[0] - 1 < snr_db < NOISE_DB[1] + 1


def test_a_script_that_no_other_process_can_be_told_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        read_aloud(tmp_path, Script(lambda draw: "HELLO"), SMALL, jobs=2)
    assert not list(tmp_path.iterdir())
