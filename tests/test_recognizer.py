"""The recognizer and its model folder: what is loaded is what was saved, whatever the batch."""

import stat
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
import yaml
from golden.voice import SAMPLE_RATE, speak_tones

import asr.draft
import asr.layerwise
import asr.recordings
import asr.windows
from asr.audio import write_flac
from asr.errors import AudioError, ModelFolderError, UsageError
from asr.model import build_model, complete_config
from asr.model_folder import load_model, save_model
from asr.recognizer import Recognizer, TranscribeOptions
from asr.tokenizer import CharacterTokenizer, train_tokenizer
from asr.windows import Chunking

GOLDEN = Path(__file__).parent / "golden"
CONFIG = {
    "features": {"sample_rate": 8000, "n_mels": 20},
    "encoder": {"layers": 1, "width": 8, "channels": 2},
}
TEXTS = ["ABC", "H", "DEAD BEEF", "CAB", "FACE A CAGE", "GAG", "EDGED BADGE", "A"]


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer.load(GOLDEN / "model", device="cpu")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Files in which the texts are said, in tones."""
    folder = tmp_path_factory.mktemp("spoken")
    paths = []
    for seed, text in enumerate(TEXTS):
        paths.append(folder / f"{seed}.flac")
        write_flac(paths[-1], speak_tones(text, seed), SAMPLE_RATE)
    return paths


@pytest.fixture
def folder(tmp_path):
    """A model folder with random weights."""
    torch.manual_seed(4)
    tokenizer = CharacterTokenizer(" AB")
    model = build_model(CONFIG, tokenizer.vocabulary_size)
    Recognizer(model, tokenizer, CONFIG, device="cpu", notes={"epochs": 3}).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("seed", range(4))
def test_the_golden_model_gives_its_golden_transcript(recognizer, seed):
    said, heard, log_prob = (GOLDEN / f"tones_{seed}.txt").read_text(encoding="utf-8").splitlines()
    transcript = recognizer.transcribe(speak_tones(said, seed), SAMPLE_RATE)
    assert transcript.text == heard == said
    assert transcript.log_prob == pytest.approx(float(log_prob), abs=1e-3)


def test_the_longest_golden_text_needs_several_windows(recognizer):
    said = (GOLDEN / "tones_3.txt").read_text(encoding="utf-8").splitlines()[0]
    transcript = recognizer.transcribe(speak_tones(said, 3), SAMPLE_RATE)
    assert transcript.duration_seconds > asr.windows.DEFAULT_CHUNKING.length_seconds


def test_new_sentences_are_heard_too(recognizer, spoken):
    assert [t.text for t in recognizer.transcribe_many(spoken, workers=0)] == TEXTS


def test_a_file_and_its_samples_give_the_same(recognizer, spoken):
    waveform, rate = soundfile.read(spoken[2], dtype="float32")
    from_file = recognizer.transcribe(spoken[2])
    assert from_file.path == str(spoken[2])
    assert from_file.duration_seconds == from_file.decoded_seconds == len(waveform) / rate
    assert not from_file.warnings
    for samples in (waveform, torch.from_numpy(waveform), waveform.astype(np.float64)):
        transcript = recognizer.transcribe(samples, rate)
        assert transcript.text == from_file.text
        assert transcript.log_prob == pytest.approx(from_file.log_prob, abs=1e-4)
        assert transcript.duration_seconds == from_file.duration_seconds


@pytest.mark.parametrize("rate", [16000, 44100])
def test_other_sample_rates_are_brought_to_the_models(recognizer, tmp_path, rate):
    slow = speak_tones("BAD CAFE", 1)
    positions = np.arange(len(slow) * rate // SAMPLE_RATE) * SAMPLE_RATE / rate
    fast = np.interp(positions, np.arange(len(slow)), slow).astype(np.float32)
    write_flac(tmp_path / "fast.flac", fast, rate)
    from_file = recognizer.transcribe(tmp_path / "fast.flac")
    from_samples = recognizer.transcribe(fast, rate)
    assert from_file.text == from_samples.text == "BAD CAFE"
    assert from_samples.log_prob == pytest.approx(from_file.log_prob, abs=1e-2)


@pytest.mark.parametrize(("batch_seconds", "workers"), [(0.1, 0), (2.0, 1), (4.0, 3), (1e4, 2)])
def test_batches_and_workers_change_neither_order_nor_result(
    recognizer, spoken, batch_seconds, workers
):
    paths = [*spoken, *reversed(spoken)]
    found = list(recognizer.transcribe_many(paths, batch_seconds=batch_seconds, workers=workers))
    assert [t.path for t in found] == [str(path) for path in paths]
    for transcript, path in zip(found, paths, strict=True):
        alone = recognizer.transcribe(path)
        assert transcript.text == alone.text
        assert transcript.log_prob == pytest.approx(alone.log_prob, abs=1e-3)


def test_no_files_give_no_transcripts(recognizer):
    assert list(recognizer.transcribe_many([])) == []


def test_an_unreadable_file_carries_its_error_and_the_others_go_on(recognizer, spoken, tmp_path):
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    bad = [tmp_path / "text.wav", tmp_path / "gone.wav", tmp_path / "empty.wav", tmp_path]
    paths = [spoken[0], *bad, spoken[1]]
    found = list(recognizer.transcribe_many(paths))
    assert [t.text for t in found] == [TEXTS[0], "", "", "", "", TEXTS[1]]
    for transcript, path in zip(found[1:-1], bad, strict=True):
        assert str(path) in transcript.error
        assert "\n" not in transcript.error
        with pytest.raises(AudioError, match=path.name):
            recognizer.transcribe(path)
        with pytest.raises(AudioError, match=path.name):
            recognizer.log_probs(path)
    assert found[0].error is None
    assert found[-1].error is None


def test_log_probabilities_of_a_file_are_those_of_the_model(recognizer, spoken):
    waveform, _ = soundfile.read(spoken[4], dtype="float32")
    with torch.inference_mode():
        expected, _ = recognizer.model(
            torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])
        )
    found = recognizer.log_probs(spoken[4])
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [1.0, 3.2])
def test_a_long_recording_with_carried_states_gives_exactly_what_the_whole_gives(
    recognizer, spoken, monkeypatch, seconds
):
    expected = recognizer.log_probs(spoken[6])
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(seconds))
    torch.testing.assert_close(recognizer.log_probs(spoken[6]), expected, atol=1e-4, rtol=0)
    assert recognizer.transcribe(spoken[6]).text == TEXTS[6]


@pytest.mark.parametrize("seconds", [17.0, 40.0])
def test_minutes_of_real_speech_have_the_same_words_cut_and_whole(recognizer, speech, seconds):
    waveform, rate = soundfile.read(speech / "long" / "1673.flac", dtype="float32")
    waveform = waveform[: 180 * rate]
    whole, cut = (
        recognizer.transcribe(waveform, rate, TranscribeOptions(chunking=Chunking(length)))
        for length in (0.0, seconds)
    )
    # The words of the toy language mean nothing here; that they are the same does.
    assert len(whole.words) > 50
    assert cut.text == whole.text


def test_features_that_are_not_held_are_computed_again(recognizer, spoken, monkeypatch):
    expected = [recognizer.log_probs(path) for path in spoken]
    monkeypatch.setattr(asr.recordings, "HELD_SECONDS", 0.5)
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(1.0))
    for path, rows in zip(spoken, expected, strict=True):
        torch.testing.assert_close(recognizer.log_probs(path), rows, atol=1e-4, rtol=0)
    texts = [each.text for each in recognizer.transcribe_many(spoken, batch_seconds=3.0)]
    assert texts == TEXTS


def test_long_recordings_are_decoded_in_parts_cut_in_pauses(recognizer, spoken, monkeypatch):
    monkeypatch.setattr(asr.draft, "PART_SECONDS", 3.0)
    monkeypatch.setattr(asr.draft, "PAUSE_SECONDS", 2.0)
    said = (GOLDEN / "tones_3.txt").read_text(encoding="utf-8").splitlines()[0]
    waveform = speak_tones(said, 3)
    in_parts = recognizer.transcribe(waveform, SAMPLE_RATE)
    monkeypatch.undo()
    whole = recognizer.transcribe(waveform, SAMPLE_RATE)
    assert in_parts.text == whole.text == said
    assert in_parts.log_prob == pytest.approx(whole.log_prob, abs=1e-3)
    for word, other in zip(in_parts.words, whole.words, strict=True):
        assert (word.text, word.probability) == (other.text, pytest.approx(other.probability))
        # What stands behind a cut no longer tells where a word before it ends.
        assert word.start == pytest.approx(other.start, abs=0.05)
        assert word.end == pytest.approx(other.end, abs=0.05)


def test_a_file_that_changes_while_it_is_read_fails_alone(recognizer, spoken, monkeypatch):
    monkeypatch.setattr(asr.recordings, "HELD_SECONDS", 0.5)
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(1.0))
    blocks = asr.recordings.FeatureStream.blocks

    def shortened(self):
        if str(self._path) == str(spoken[2]):
            return iter([next(blocks(self))[:40]])
        return blocks(self)

    monkeypatch.setattr(asr.recordings.FeatureStream, "blocks", shortened)
    found = list(recognizer.transcribe_many(spoken))
    assert "gave fewer samples when it was read again" in found[2].error
    assert [each.text for each in found] == [*TEXTS[:2], "", *TEXTS[3:]]


@pytest.mark.parametrize("held_seconds", [900.0, 0.5])
def test_what_nobody_foresaw_in_one_file_fails_that_file_alone(
    recognizer, spoken, monkeypatch, held_seconds
):
    monkeypatch.setattr(asr.recordings, "HELD_SECONDS", held_seconds)
    waveform, opened = asr.recordings.FeatureStream.waveform, []

    def stumble(self):
        if str(self._path) == str(spoken[4]):
            opened.append(self._path)
            # Where features are not held, the second reading is the one that fails.
            if held_seconds > 1 or len(opened) > 1:
                raise RuntimeError("a bug in\na decoder")
        yield from waveform(self)

    monkeypatch.setattr(asr.recordings.FeatureStream, "waveform", stumble)
    found = list(recognizer.transcribe_many(spoken))
    assert "RuntimeError: a bug in a decoder; please report this" in found[4].error
    assert [each.text for each in found] == [*TEXTS[:4], "", *TEXTS[5:]]


def test_a_full_temporary_folder_fails_the_long_recording_alone(recognizer, spoken, monkeypatch):
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(1.2))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(asr.frame_file.os, "pwrite", full)
    found = {each.path: each for each in recognizer.transcribe_many(spoken)}
    failed = [each for each in found.values() if each.error]
    assert 0 < len(failed) < len(spoken)
    assert all("let TMPDIR name one with more room" in each.error for each in failed)
    assert all(each.path in each.error for each in failed)


def test_a_long_recording_in_windows_gives_what_the_whole_gives(recognizer, spoken, monkeypatch):
    expected = recognizer.log_probs(spoken[6])
    # Cut within words: the trained model remembers less than a second.
    chunking = Chunking(3.2, 0.8)
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", chunking)
    found = recognizer.log_probs(spoken[6])
    assert found.shape == expected.shape
    torch.testing.assert_close(found.exp(), expected.exp(), atol=0.02, rtol=0)
    assert recognizer.transcribe(spoken[6]).text == TEXTS[6]


@pytest.mark.parametrize("samples", [1, 79, 80, 8000])
def test_silence_however_short_gives_a_transcript(recognizer, samples):
    transcript = recognizer.transcribe(np.zeros(samples, np.float32), SAMPLE_RATE)
    assert isinstance(transcript.text, str)
    assert np.isfinite(transcript.log_prob)
    assert transcript.duration_seconds == samples / SAMPLE_RATE


def test_a_sample_that_vanishes_in_resampling_gives_an_empty_transcript(recognizer):
    assert recognizer.transcribe(np.zeros(2, np.float32), 48000).text == ""


@pytest.mark.parametrize(
    ("waveform", "complaint"),
    [
        (np.zeros((2, 100), np.float32), "shape (2, 100)"),
        (np.zeros(0, np.float32), "shape (0,)"),
        (np.array([0, np.nan], np.float32), "finite"),
        (np.zeros(100, np.int16), "type int16; expected floats"),
        (torch.zeros(100, dtype=torch.int64), "type int64; expected floats"),
    ],
)
def test_a_waveform_that_is_none_is_refused(recognizer, waveform, complaint):
    with pytest.raises(AudioError) as caught:
        recognizer.transcribe(waveform, SAMPLE_RATE)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("rate", [None, 0])
def test_a_waveform_needs_a_sample_rate(recognizer, rate):
    with pytest.raises(UsageError, match="needs its sample_rate"):
        recognizer.transcribe(np.zeros(100, np.float32), rate)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UsageError, match=f"no device '{name}' on this machine"):
        Recognizer.load(GOLDEN / "model", device=name)


@pytest.mark.parametrize("kind", ["characters", "sentencepiece"])
def test_a_saved_model_is_the_same_when_loaded(tmp_path, spoken, kind):
    tokenizer = train_tokenizer(kind, ["A BAD CAB", "DAD AB ACD"] * 5, 9)
    config = {**CONFIG, "encoder": CONFIG["encoder"] | {"reset": "before"}}
    model = build_model(config, tokenizer.vocabulary_size)
    saved = Recognizer(model, tokenizer, config, device="cpu", notes={"wer": 7.5})
    saved.save(tmp_path / "model")
    loaded = Recognizer.load(tmp_path / "model", device="cpu")
    assert loaded.log_probs(spoken[0]).equal(saved.log_probs(spoken[0]))
    saved.name = str(tmp_path / "model")
    assert loaded.transcribe(spoken[0]) == saved.transcribe(spoken[0])
    assert loaded.tokenizer.tokens == tokenizer.tokens
    assert (loaded.config, loaded.notes) == (complete_config(config), {"wer": 7.5})


def test_a_weight_too_large_for_float16_is_told_and_nothing_written(tmp_path):
    tokenizer = train_tokenizer("characters", ["A BAD CAB"], 0)
    model = build_model(CONFIG, tokenizer.vocabulary_size)
    with torch.no_grad():
        model.head.bias[1] = 1e5
    with pytest.raises(ModelFolderError, match=r"'head.bias' has a weight of 100000, too large"):
        save_model(tmp_path / "model", model, tokenizer, CONFIG, half=True)
    assert not list(tmp_path.iterdir())


def test_a_model_folder_can_be_moved_and_saved_over(folder):
    moved = folder.rename(folder.parent / "moved")
    Recognizer.load(moved, device="cpu").save(moved)
    names = {path.name for path in moved.iterdir()}
    assert names == {"config.yaml", "model.safetensors", "tokenizer.txt"}
    assert load_model(moved).notes == {"epochs": 3}


def test_who_may_read_one_file_of_the_model_may_read_all(folder):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 1


def test_a_folder_of_other_things_is_never_replaced(recognizer, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelFolderError, match="exists and is no model folder"):
        recognizer.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def change_config(folder, change):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def refusal(folder):
    with pytest.raises(ModelFolderError) as caught:
        Recognizer.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("number", [2, 0, None, "one"])
def test_an_unknown_format_number_is_refused(folder, number):
    change_config(folder, lambda config: config.update(format=number))
    assert f"says format {number!r}" in refusal(folder)


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.txt", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.txt", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_truncated_file_is_refused(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content)) // 2 * 2])
    refusal(folder)


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.txt", "model.safetensors"])
def test_garbage_is_refused(folder, name):
    (folder / name).write_bytes(b"\x80\x03 {[ garbage \xff")
    refusal(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c["model"]["encoder"].update(widht=8), "did you mean 'width'"),
        (lambda c: c["model"]["encoder"].update(width="8"), "width is '8'; expected int"),
        (lambda c: c["model"]["encoder"].update(width=16), "do not fit config.yaml"),
        (lambda c: c["model"]["encoder"].update(layers=2), "do not fit config.yaml"),
        (lambda c: c["model"]["encoder"].update(dropout=2), "dropout is 2"),
        (lambda c: c.update(model=3), "model is 3; expected keys and values"),
        (lambda c: c.pop("model"), "lacks the key 'model'"),
        (lambda c: c.pop("tokenizer"), "lacks the key 'kind'"),
        (lambda c: c.update(tokenizer="characters"), "tokenizer is 'characters'"),
        (lambda c: c["tokenizer"].update(kind="words"), "no tokenizer 'words'"),
        (lambda c: c.update(training="long"), "training is 'long'"),
    ],
)
def test_a_config_that_is_off_is_refused(folder, change, complaint):
    change_config(folder, change)
    message = refusal(folder)
    assert complaint in message
    assert len(message) < 500


def test_another_vocabulary_does_not_fit_the_weights(folder):
    CharacterTokenizer(" ABC").save(folder)
    assert "do not fit" in refusal(folder)


def test_weights_under_other_names_are_refused(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["head.extra"] = torch.zeros(3)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    assert "head.extra" in refusal(folder)


def test_what_is_no_model_folder_is_refused(tmp_path):
    assert "is no model folder: it lacks config.yaml" in refusal(tmp_path)
    assert "is no model folder" in refusal(tmp_path / "nowhere")


def test_nothing_in_a_model_folder_is_executed(folder):
    mark = folder.parent / "executed"
    command = f"!!python/object/apply:os.mkdir ['{mark}']\n"
    (folder / "config.yaml").write_text(command)
    refusal(folder)
    assert not mark.exists()
