"""Exported models: ONNX Runtime gives what torch gives, for every form, length and batch."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_models import TOKENIZER, save_random

from asr.audio import write_flac
from asr.cli import main
from asr.decoding import greedy_decode
from asr.errors import ModelFolderError
from asr.export.folder import export_model
from asr.model import CTCModel
from asr.model_config import read_config
from asr.model_folder import load_model
from asr.runtime.layout import HEAD, SUBSAMPLING, WHOLE, direction_name

RATE = 8000


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def waveforms(*samples):
    generator = torch.Generator().manual_seed(4)
    # Louder and louder, silent at the start, and garbage behind each end.
    waves = torch.randn(len(samples), max(samples), generator=generator) * 0.2
    return waves * torch.linspace(0, 1, max(samples)), torch.tensor(samples)


def difference(model: CTCModel, graph, waves, lengths) -> float:
    with torch.inference_mode():
        expected, counts = model(waves, lengths)
    feeds = {"waveforms": waves.numpy(), "sample_lengths": lengths.numpy()}
    found, found_counts = graph.run(["log_probs", "frame_lengths"], feeds)
    assert found_counts.tolist() == counts.tolist()
    return max(
        (
            float(np.abs(rows[:count] - wanted[:count].numpy()).max())
            for rows, wanted, count in zip(found, expected, counts.tolist(), strict=True)
            if count
        ),
        default=0.0,
    )


FORMS = [
    {"reset": "before", "layers": 1, "bidirectional": True},
    {"reset": "after", "layers": 2, "bidirectional": True, "subsampling": 2, "kernel": [11, 5]},
    {"reset": "before", "layers": 4, "bidirectional": False, "normalize": "utterance"},
    {"reset": "after", "layers": 3, "bidirectional": False, "normalize": "none"},
    {"reset": "before", "layers": 3, "bidirectional": True, "floor_db": 20.0},
    {"reset": "after", "layers": 4, "bidirectional": True},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_the_graph_gives_what_torch_gives(tmp_path, form):
    model = save_random(tmp_path / "model", **form)
    export_model(tmp_path / "model", tmp_path / "exported")
    onnx.checker.check_model(str(tmp_path / "exported" / WHOLE), full_check=True)
    graph = session(tmp_path / "exported" / WHOLE)
    # Unequal lengths, one frame of features, none; alone and together; less than a frame.
    for lengths in [(16000, 4001, 80, 79, 240), (16000,), (80,), (81,), (79,), (30, 10)]:
        assert difference(model, graph, *waveforms(*lengths)) < 1e-4


def test_five_minutes(tmp_path):
    model = save_random(tmp_path / "model", layers=1)
    export_model(tmp_path / "model", tmp_path / "exported")
    waves = waveforms(300 * RATE)
    assert difference(model, session(tmp_path / "exported" / WHOLE), *waves) < 1e-4


@pytest.mark.parametrize("form", FORMS[2:4], ids=["before", "after"])
@pytest.mark.parametrize(("precision", "limit"), [("bf16", 0.1), ("int8", 0.5)])
def test_rounded_weights_come_near_and_batches_change_nothing(tmp_path, form, precision, limit):
    model = save_random(tmp_path / "model", **{**form, "bidirectional": True})
    export_model(tmp_path / "model", tmp_path / "exported", precision)
    graph = session(tmp_path / "exported" / WHOLE)
    waves, lengths = waveforms(16000, 4001, 80)
    assert 1e-4 < difference(model, graph, waves, lengths) < limit
    together, counts = graph.run(
        None, {"waveforms": waves.numpy(), "sample_lengths": lengths.numpy()}
    )
    for row, samples, count in zip(range(3), lengths.tolist(), counts, strict=True):
        feeds = {
            "waveforms": waves[row : row + 1, :samples].numpy(),
            "sample_lengths": lengths[row : row + 1].numpy(),
        }
        alone, _ = graph.run(None, feeds)
        np.testing.assert_allclose(alone[0, :count], together[row, :count], atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", FORMS[1:3], ids=["after", "before"])
def test_the_parts_in_a_row_are_the_whole_and_states_are_carried(tmp_path, form, precision):
    model = save_random(tmp_path / "model", **form)
    folder = tmp_path / "exported"
    export_model(tmp_path / "model", folder, precision)
    waves, lengths = waveforms(16000, 4001)
    feeds = {"waveforms": waves.numpy(), "sample_lengths": lengths.numpy()}
    whole, _ = session(folder / WHOLE).run(None, feeds)
    with torch.inference_mode():
        features, frames = model.features(waves, lengths)
    feeds = {"features": features.numpy(), "lengths": frames.numpy()}
    hidden, counts = session(folder / SUBSAMPLING).run(["hidden", "counts"], feeds)
    directions = 2 if form["bidirectional"] else 1
    start = np.zeros((1, 2, 24 // directions), np.float32)
    for number in range(form["layers"]):
        outputs = []
        for direction in range(directions):
            part = session(folder / direction_name(number, direction))
            feeds = {"hidden": hidden, "lengths": counts, "state": start}
            output, final = part.run(["output", "final"], feeds)
            last = counts - 1 if direction == 0 else 0 * counts
            np.testing.assert_allclose(final[0], output[[0, 1], last], atol=1e-6)
            outputs.append(output)
        # In two stretches, the second from the state that the first ended in.
        part = session(folder / direction_name(number, 0))
        _, state = part.run(
            ["output", "final"],
            {"hidden": hidden[:, :5], "lengths": np.array([5, 5]), "state": start},
        )
        rest, _ = part.run(
            ["output", "final"], {"hidden": hidden[:, 5:], "lengths": counts - 5, "state": state}
        )
        np.testing.assert_allclose(rest[0], outputs[0][0, 5:], atol=1e-5)
        hidden = hidden + np.concatenate(outputs, axis=2)
    (log_probs,) = session(folder / HEAD).run(["log_probs"], {"hidden": hidden})
    for row, count in enumerate(counts):
        np.testing.assert_allclose(log_probs[row, :count], whole[row, :count], atol=1e-4)


def test_the_folder_keeps_what_decoding_needs_and_foreign_folders(tmp_path, capsys):
    save_random(tmp_path / "model", layers=1)
    folder = tmp_path / "exported"
    assert main(["export", str(tmp_path / "model"), "-o", str(folder)]) == 0
    assert "fp32" in capsys.readouterr().err
    before = sum(path.stat().st_size for path in folder.iterdir())
    words = ["export", str(tmp_path / "model"), "-o", str(folder), "--precision", "bf16"]
    assert main(words) == 0
    assert sum(path.stat().st_size for path in folder.iterdir()) < before
    with pytest.raises(ModelFolderError, match="exported model"):
        load_model(folder)
    with pytest.raises(ModelFolderError, match="exists and is no exported model"):
        export_model(tmp_path / "model", tmp_path / "model")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "other")]) == 3
    assert "is no model folder" in capsys.readouterr().err


def test_a_worse_model_is_refused_and_nothing_is_written(tmp_path, capsys):
    model = save_random(tmp_path / "model", layers=1)
    wave = waveforms(2 * RATE)[0][0].numpy()
    write_flac(tmp_path / "a.flac", wave, RATE)
    with torch.inference_mode():
        log_probs, lengths = model(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    text = TOKENIZER.decode(greedy_decode(log_probs, lengths)[0].tokens) or "A"
    line = {"id": "a", "audio_filepath": str(tmp_path / "a.flac"), "duration": 2.0, "text": text}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(line) + "\n", encoding="utf-8")
    words = ["export", str(tmp_path / "model"), "-o", str(tmp_path / "exported")]
    words += ["--check", str(manifest)]
    # No rise at all is more than a fall that is asked for.
    assert main([*words, "--precision", "int8", "--max-wer-increase", "-1"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
    assert main(words) == 0
    assert "0.00 % in torch, 0.00 % exported with compiled" in capsys.readouterr().err
    checked = read_config(tmp_path / "exported")["export"]["checked"]
    assert checked == {"manifest": str(manifest), "wer_before": 0.0, "wer_after": 0.0}
