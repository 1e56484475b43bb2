"""Exported models transcribe as trained ones do, whatever the batch, and without torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_models import save_random
from golden.voice import SAMPLE_RATE, speak_tones

import asr.recordings
import asr.runtime.acoustic
from asr import Recognizer
from asr.audio import write_flac
from asr.cli import main
from asr.errors import UsageError
from asr.export.folder import export_model
from asr.features import LogMel
from asr.manifest import Utterance, write_manifest
from asr.model_config import read_config
from asr.runtime.backends import choose_backend
from asr.runtime.features import ArrayFeatures
from asr.runtime.recognizer import ExportedRecognizer
from asr.runtime.sweep import StretchSweep
from asr.transcriber import TranscribeOptions
from asr.windows import Chunking

FORMS = [
    {"layers": 2, "bidirectional": True, "reset": "after"},
    {"layers": 2, "bidirectional": False, "reset": "before", "floor_db": 20.0},
]


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    wave = draw.standard_normal(int(seconds * rate)).astype(np.float32) * 0.1
    return wave * np.linspace(0, 1, len(wave), dtype=np.float32)


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> list[Path]:
    """Files of unequal lengths, one of them too short for a frame."""
    folder = tmp_path_factory.mktemp("audio")
    for number, seconds in enumerate([1.0, 4.3, 0.02, 2.5, 0.005, 7.77]):
        write_flac(folder / f"{number}.flac", noise(seconds, 8000, number), 8000)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module", params=FORMS, ids=["both", "one"])
def models(request, tmp_path_factory) -> tuple[Path, Path]:
    """A trained model and what was exported of it."""
    folder = tmp_path_factory.mktemp("models")
    save_random(folder / "model", **request.param)
    export_model(folder / "model", folder / "exported")
    return folder / "model", folder / "exported"


@pytest.mark.parametrize("normalize", ["mean", "utterance", "none"])
@pytest.mark.parametrize("floor_db", [None, 15.0])
def test_features_are_those_of_torch(normalize, floor_db):
    config = {
        "sample_rate": 8000,
        "n_mels": 20,
        "window_ms": 25.0,
        "hop_ms": 10.0,
        "normalize": normalize,
        "floor_db": floor_db,
    }
    own, other = ArrayFeatures(config), LogMel(**config)
    for samples in (79, 80, 161, 30000):
        wave = noise(samples / 8000, 8000)
        blocks = [wave[start : start + 7001] for start in range(0, samples, 7001)]
        running = own.normalization()
        parts = list(own.stream(blocks))
        for part in parts:
            running.add(part)
        if (finer := running.again()) is not None:
            for part in parts:
                finer.add(part)
            running = finer
        assert (finer is None) == (floor_db is None)
        expected, _ = other(torch.from_numpy(wave)[None], torch.tensor([samples]))
        found = running.apply(own.join(parts))
        np.testing.assert_allclose(found, expected[0, : samples // 80], atol=2e-4)


@pytest.mark.parametrize("backend", ["compiled", "onnx", "openvino"])
def test_transcripts_are_those_of_torch(models, audio, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    trained, exported = Recognizer.load(models[0]), ExportedRecognizer(models[1], backend, 2)
    expected = list(trained.transcribe_many(audio))
    for batch_seconds in (0.1, 6.0, 120.0) if backend != "openvino" else (6.0,):
        found = list(exported.transcribe_many(audio, batch_seconds=batch_seconds))
        assert [each.text for each in found] == [each.text for each in expected]
        for own, other in zip(found, expected, strict=True):
            assert [word.text for word in own.words] == [word.text for word in other.words]
            for word, wanted in zip(own.words, other.words, strict=True):
                assert (word.start, word.end) == pytest.approx((wanted.start, wanted.end))
                assert word.probability == pytest.approx(wanted.probability, abs=1e-3)
    assert expected[1].words
    for path in audio:
        np.testing.assert_allclose(
            exported.log_probs(path), trained.log_probs(path), atol=1e-4, rtol=0
        )


def test_features_that_are_not_held_are_computed_again(models, audio, monkeypatch):
    recognizers = [Recognizer.load(models[0]), ExportedRecognizer(models[1], "onnx", 1)]
    expected = [[own.log_probs(path) for path in audio] for own in recognizers]
    monkeypatch.setattr(asr.recordings, "HELD_SECONDS", 0.5)
    for own, wanted in zip(recognizers, expected, strict=True):
        for path, rows in zip(audio, wanted, strict=True):
            np.testing.assert_allclose(own.log_probs(path), rows, atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunking", [Chunking(1.0), Chunking(0.3), Chunking(2.0, 0.5)])
@pytest.mark.parametrize("threads", [1, 3])
def test_long_recordings_give_what_the_whole_gives(models, audio, monkeypatch, chunking, threads):
    monkeypatch.setattr(asr.runtime.acoustic, "STRETCHES", 3)
    exported = ExportedRecognizer(models[1], "onnx", threads)
    whole = TranscribeOptions(chunking=Chunking(0.0))
    cut = TranscribeOptions(chunking=chunking)
    seconds: list[float] = []
    expected = [exported.transcribe(path, options=whole) for path in audio]
    found = [each for _, each in sorted(exported.transcribe_unordered(audio, cut, seconds.append))]
    assert sum(seconds) == pytest.approx(sum(each.decoded_seconds for each in found), abs=0.2)
    carried = chunking.overlap_seconds is None or "one" in str(exported.acoustic._directions)
    if carried:
        assert [each.text for each in found] == [each.text for each in expected]
        assert [each.log_prob for each in found] == pytest.approx(
            [each.log_prob for each in expected], abs=1e-3
        )


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("keep", [0.0, 0.9, 0.9999])
def test_states_that_are_hardly_forgotten_are_carried_all_the_way(backward, keep):
    """A leaky sum stands for a layer; with ``keep`` near 1 no stretch ever forgets its start."""
    calls = []

    def part(hidden, lengths, state):
        calls.append(len(lengths))
        output = np.zeros_like(hidden)
        finals = state.copy()
        for row, length in enumerate(lengths):
            steps = range(length)[:: -1 if backward else 1]
            for step in steps:
                finals[0, row] = keep * finals[0, row] + hidden[row, step]
                output[row, step] = finals[0, row]
        return [output, finals]

    hidden = np.random.default_rng(0).standard_normal((5, 60, 2)).astype(np.float32)
    lengths = [60, 60, 60, 60, 17]
    start = np.array([3.0, -5.0], np.float32)
    output, end = StretchSweep(part, backward).run(hidden, lengths, start)
    whole = np.concatenate([row[:length] for row, length in zip(hidden, lengths, strict=True)])
    calls_needed = len(calls)
    expected, final = part(whole[None], [len(whole)], start[None, None])
    found = np.concatenate([row[:length] for row, length in zip(output, lengths, strict=True)])
    np.testing.assert_allclose(found, expected[0], atol=1e-3)
    np.testing.assert_allclose(end, final[0, 0], atol=1e-3)
    assert calls_needed <= (3 if keep == 0.0 else 40)


def test_what_cannot_be_read_is_named_and_the_others_go_on(models, audio, tmp_path, capsys):
    (tmp_path / "broken.flac").write_bytes(b"fLaC and no more")
    words = ["transcribe", str(audio[1]), str(tmp_path / "broken.flac"), "-m", str(models[1])]
    assert main([*words, "-o", str(tmp_path / "out"), "-f", "all", "--threads", "2"]) == 1
    complaints = capsys.readouterr().err
    assert "--backend auto takes compiled" in complaints
    assert "broken.flac" in complaints
    assert "1 of 2 inputs were not transcribed" in complaints
    assert len(list((tmp_path / "out").glob("1.*"))) == 10


@pytest.mark.parametrize(
    ("place", "flags", "complaint"),
    [
        (0, ["--backend", "onnx"], "asr export"),
        (1, ["--backend", "torch"], "holds no model.safetensors"),
        (1, ["--precision", "bf16"], "is for torch"),
        (1, ["--device", "cuda"], "is for torch"),
        (1, ["--threads", "0"], "expected 1 or more"),
    ],
)
def test_backends_that_do_not_fit_are_explained(models, audio, capsys, place, flags, complaint):
    assert main(["transcribe", str(audio[0]), "-m", str(models[place]), *flags]) in (2, 3)
    assert complaint in capsys.readouterr().err


def test_auto_takes_what_is_installed(models, tmp_path, monkeypatch):
    assert choose_backend("auto", models[0]) == "torch"
    assert choose_backend("auto", models[1]) == "compiled"
    assert choose_backend("openvino", models[1]) == "openvino"
    export_model(models[0], tmp_path / "int8", "int8")
    with pytest.raises(UsageError, match="export the model in fp32"):
        ExportedRecognizer(tmp_path / "int8", "openvino")
    lacking = {"llvmlite"}
    monkeypatch.setattr(
        "asr.runtime.backends.find_spec", lambda name: None if name in lacking else name
    )
    assert choose_backend("auto", models[1]) == "onnx"
    with pytest.raises(UsageError, match="pip install llvmlite"):
        ExportedRecognizer(models[1], "compiled")
    lacking |= {"onnxruntime", "torch"}
    assert choose_backend("auto", models[1]) == "openvino"
    with pytest.raises(UsageError, match="pip install onnxruntime"):
        choose_backend("auto", tmp_path / "int8")
    with pytest.raises(UsageError, match="asr export"):
        choose_backend("auto", models[0])


def test_an_exported_model_needs_no_torch(models, audio, tmp_path):
    if "models0" not in str(models[1]):
        pytest.skip("one model will do")
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchaudio', 'lightning')))"
    words = [*map(str, audio), "-m", str(models[1]), "-o", str(tmp_path), "-f", "srt,json,ctm"]
    script = f"{blocked}; from asr.cli import main; sys.exit(main(['transcribe', *{words!r}]))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "6 transcripts" in result.stderr, result.stderr
    assert len(list(tmp_path.glob("*.srt"))) == 6


def test_the_other_verbs_take_exported_models_without_torch(tmp_path, capsys):
    texts = ["ABC", "DEAD BEEF", "FACE A CAGE"]
    utterances = []
    for seed, text in enumerate(texts):
        wave = speak_tones(text, seed)
        write_flac(tmp_path / f"{seed}.flac", wave, SAMPLE_RATE)
        path, seconds = str(tmp_path / f"{seed}.flac"), len(wave) / SAMPLE_RATE
        utterances.append(Utterance(str(seed), path, seconds, text))
    manifest = str(tmp_path / "dev.jsonl")
    write_manifest(tmp_path / "dev.jsonl", utterances)
    golden, exported = str(Path(__file__).parent / "golden" / "model"), str(tmp_path / "exported")
    export_model(golden, exported)
    commands = [
        ["evaluate", manifest, "-q", "-o", str(tmp_path / "scores")],
        ["align", manifest, "-q"],
        ["tune", manifest, "-q", "--allow-test", "-o", str(tmp_path / "tuning")],
    ]
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchaudio', 'lightning')))\n"
        f"from asr.cli import main\nfor words in {commands!r}:\n"
        f"    assert main([*words, '-m', {exported!r}, '--threads', '1']) == 0"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    shutil.copytree(golden, tmp_path / "golden")
    for words in commands:
        flags = ["-o", str(tmp_path / "torch"), "-m", str(tmp_path / "golden"), "--device", "cpu"]
        assert main([*words, *(flags if "-o" in words else flags[2:])]) == 0
    expected = [line for line in capsys.readouterr().out.splitlines() if " h of audio" not in line]
    found = [line for line in result.stdout.splitlines() if " h of audio" not in line]
    assert found == [line.replace(str(tmp_path / "golden"), exported) for line in expected]
    assert found[0] == "%WER 0.00 [ 0 / 6, 0 ins, 0 del, 0 sub ]"
    assert json.loads((tmp_path / "scores" / "score.json").read_text())["backend"] == "compiled"
    assert read_config(Path(exported))["decoder"] == read_config(tmp_path / "golden")["decoder"]


def test_real_speech_has_the_same_words(speech, tmp_path):
    """With ASR_MODEL, the folder of a model trained on AN4: 100 utterances of its speakers."""
    if not os.environ.get("ASR_MODEL"):
        pytest.skip("ASR_MODEL names no trained model")
    files = sorted((speech / "an4").rglob("*.flac"))[:100]
    trained = Recognizer.load(os.environ["ASR_MODEL"])
    expected = [each.text for each in trained.transcribe_many(files)]
    export_model(os.environ["ASR_MODEL"], tmp_path / "exported")
    exported = ExportedRecognizer(tmp_path / "exported", "onnx")
    assert [each.text for each in exported.transcribe_many(files)] == expected
