"""Before training starts: the estimate of `--dry-run`, and the largest batch that fits."""

import csv
import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import configuration
from tones import make_tones

from asr.cli import main
from asr.errors import ConfigError, TrainingError
from asr.model import build_model
from asr.tokenizer import CharacterTokenizer
from asr.training import describe, estimate, train
from asr.training.auto_batch import AutoBatch, make_trial
from asr.training.batch_size import Trial, largest_batch
from asr.training.consistency import Consistency
from asr.training.estimate import Estimate, count_operations
from asr.training.loggers import Logging, StepTable
from asr.training.module import CTCTraining
from asr.training.parts import build_parts
from asr.training.pictures import draw_alignment, draw_masked, occupancy
from asr.training.run import RunFolder
from asr.training.tasks import Tasks

WIDTH, LAYERS, MELS, CHANNELS, TOKENS = 64, 2, 40, 8, 30


def module_of(kind="gru", **tasks):
    torch.manual_seed(0)
    encoder = {"kind": kind, "layers": LAYERS, "width": WIDTH, "channels": CHANNELS}
    model = build_model({"features": {"n_mels": MELS}, "encoder": encoder}, TOKENS)
    tokenizer = CharacterTokenizer([chr(65 + i) for i in range(TOKENS - 1)])
    return CTCTraining(model, tokenizer, tasks=Tasks(**tasks))


def operations_by_hand(kind: str) -> float:
    """Multiplications and additions of a forward pass for a second: 100 frames, 25 encoder ones."""
    half = WIDTH // 2
    gates = 3 * (WIDTH * half + half * half)
    if kind == "lstm":
        # Of its eight more columns one tells the lengths.
        gates = 4 * ((WIDTH + 8) * half + half * half)
    recurrent = 25 * LAYERS * 2 * gates
    first = 50 * (MELS // 2) * CHANNELS * 9
    second = 25 * (MELS // 4) * CHANNELS * CHANNELS * 9
    projection = 25 * CHANNELS * (MELS // 4) * WIDTH
    mel = 100 * 257 * MELS
    return 2 * (recurrent + first + second + projection + mel + 25 * WIDTH * TOKENS)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_operations_are_those_counted_by_hand(kind):
    flops, kept = count_operations(module_of(kind))
    forward = operations_by_hand(kind)
    mel = 2 * 100 * 257 * MELS
    # Backward: the products with respect to inputs and to weights; none for what no weight is
    # before, the mel filters and the first convolution's input.
    first = 2 * 50 * (MELS // 2) * CHANNELS * 9
    assert flops == 3 * forward - 2 * mel - first
    twice, _ = count_operations(module_of(kind, consistency=Consistency()))
    assert twice == 2 * flops - mel
    # At least the features' padding, inputs and gates of each layer, in float32.
    assert kept > 4 * 25 * LAYERS * 2 * 4 * (WIDTH // 2)


def test_a_dry_run_says_what_training_takes_and_writes_nothing(tmp_path, capsys):
    make_tones(tmp_path, train=24, valid=6)
    words = [
        *("train", "--dry-run", f"data.train={tmp_path}/train.jsonl", "data.batch_seconds=6"),
        *(f"data.valid={tmp_path}/valid.jsonl", f"output_dir={tmp_path}/run", "model=gru_tiny"),
        *("trainer=cpu", "data.workers=0", "trainer.max_epochs=7"),
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "batch_seconds: 6\n" in printed
    lines = dict(line.split("  ", 1) for line in printed.splitlines() if "  " in line.strip())
    assert "0.01 h in 24 utterances" in lines["training speech"]
    assert "7 epochs" in lines["steps"]
    assert "s a step on this CPU" in lines["time"]
    assert "GFLOP a second" in lines["operations"]
    assert not (tmp_path / "run").exists()


def test_an_estimate_is_that_of_the_data_and_the_devices(tmp_path):
    config = configuration(tmp_path)
    found = estimate(config)
    parts = build_parts(config, RunFolder(tmp_path / "run"))
    assert found.steps_per_epoch == parts.data.batch_count(0)
    assert found.steps == 2 * found.steps_per_epoch
    assert found.parameters == parts.module.model.parameter_count()
    assert found.fixed_bytes == 16 * found.parameters
    assert found.step_seconds > 0
    assert 0 < found.hours < 1
    two = {**config["trainer"], "devices": 2, "strategy": "ddp"}
    shared = estimate({**config, "trainer": two})
    assert shared.devices == 2
    assert shared.steps_per_epoch == found.steps_per_epoch
    assert shared.activation_bytes == pytest.approx(found.activation_bytes / 2, rel=0.01)


def test_hours_are_those_of_steps_and_validation():
    found = Estimate(
        train_hours=10.0,
        valid_hours=3.0,
        train_utterances=1,
        valid_utterances=1,
        epoch_hours=10.0,
        epochs=4,
        steps_per_epoch=900,
        padding_share=0.1,
        batch_seconds=40.0,
        devices=1,
        parameters=10**6,
        flops_per_second=1e9,
        fixed_bytes=16 * 10**6,
        activation_bytes=10**6,
        measured_on="CPU",
        step_seconds=2.0,
        peak_mib=1.0,
    )
    # Four times half an hour of training, and of validation a third of 3/10 of that.
    assert found.hours == pytest.approx(4 * 0.5 * (1 + 0.1))
    assert found.flops_per_epoch == pytest.approx(1e9 * 36000 / 0.9)
    assert "2.2 h: 2.00 s a step" in describe(found)


def test_missing_audio_and_an_absent_gpu_are_told(tmp_path):
    config = configuration(tmp_path)
    gpu = {**config["trainer"], "accelerator": "gpu", "precision": "bf16-mixed"}
    if not torch.cuda.is_available():
        assert "this machine has none" in describe(estimate({**config, "trainer": gpu}))
    (tmp_path / "train" / "003.flac").unlink()
    with pytest.raises(TrainingError, match=r"1 audio files are missing: 'train-003' \(.*003.flac"):
        estimate(config)


@pytest.mark.parametrize("limit", [17.0, 40.0, 333.3, 5000.0])
def test_the_largest_batch_is_just_below_the_limit(limit):
    tried: list[float] = []

    def fits(seconds: float) -> bool:
        tried.append(seconds)
        return seconds <= limit

    found = largest_batch(fits, 16.5)
    assert max(16.5, 0.9 * limit / 1.03) <= found <= max(16.5, 0.9 * limit)
    assert len(tried) < 20


def test_a_device_that_holds_nothing_is_refused_and_one_without_limit_ends():
    with pytest.raises(TrainingError, match=r"not even one utterance of 16\.5 seconds fits"):
        largest_batch(lambda seconds: False, 16.5)
    assert largest_batch(lambda seconds: True, 16.5) > 30_000


def test_a_trial_sees_memory_run_out_and_leaves_the_module_clean(monkeypatch):
    module = module_of()
    limit = 3 * 16000 * 4
    losses = CTCTraining.losses

    def limited(self, features, lengths, batch, **told):
        if batch.waveforms.numel() > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses(self, features, lengths, batch, **told)

    monkeypatch.setattr(CTCTraining, "losses", limited)
    trial = Trial(module, 2.0, 3.0, lambda: torch.autocast("cpu", enabled=False))
    assert 0.9 * 12 / 1.1 <= largest_batch(trial, 2.0) <= 0.9 * 14
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_trial_is_as_long_and_as_dense_as_the_data(tmp_path):
    parts = build_parts(configuration(tmp_path), RunFolder(tmp_path / "run"))

    class One:
        class precision_plugin:  # noqa: N801  # Lightning's name.
            forward_context = staticmethod(lambda: torch.autocast("cpu", enabled=False))

    trial = make_trial(parts.module, parts.data, One())
    # Seven letters of 0.16 seconds, at nine tenths of the speed.
    assert trial.longest == pytest.approx(7 * 0.16 / 0.9)
    assert trial.tokens_per_second == pytest.approx(1 / 0.16)
    assert trial(2 * trial.longest)


def test_auto_needs_a_gpu_and_a_run_that_goes_on_keeps_its_batches(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="batch_seconds=auto needs a GPU"):
        train(configuration(tmp_path, data__batch_seconds="auto"))
    config = configuration(tmp_path, data__batch_seconds="auto", output_dir=str(tmp_path / "auto"))

    def chosen(self, trainer, module, stage):
        if self.fresh:
            trainer.datamodule.make_batches(4.0)
            trainer.datamodule.setup(stage)

    monkeypatch.setattr(AutoBatch, "setup", chosen)
    train({**config, "trainer": {**config["trainer"], "max_epochs": 1}})
    data = torch.load(tmp_path / "auto" / "last.ckpt", weights_only=False)["SpeechData"]
    assert data["batch_seconds"] == 4.0
    parts = build_parts(config, RunFolder(tmp_path / "auto"))
    before = parts.data.batch_count(0)
    parts.data.trainer = type("One", (), {"global_rank": 0, "world_size": 1})()
    parts.data.load_state_dict(data)
    assert parts.data.batch_count(0) < before
    with pytest.raises(ConfigError, match="batch_seconds is 'most'; expected seconds or auto"):
        build_parts(configuration(tmp_path, data__batch_seconds="most"), RunFolder(tmp_path / "x"))


def read_steps(run: Path) -> list[dict[str, str]]:
    with (run / "steps.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_curves_and_pictures_can_be_watched(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(configuration(tmp_path, logging={}, auxiliary={"consistency": {}}))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {
        *("train/loss", "train/loss_epoch", "val/wer", "val/loss", "lr", "train/gradient_norm"),
        *("train/padding_share", "train/audio_seconds_per_second", "train/memory_mib"),
    } <= set(tags["scalars"])
    assert set(tags["images"]) == {"train/masked_features", "valid/alignment"}
    rows = read_steps(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    curve = [event.value for event in events.Scalars("train/gradient_norm")]
    assert [float(row["gradient_norm"]) for row in rows] == pytest.approx(curve, rel=1e-5)
    assert all(0 <= float(row["padding_share"]) < 0.5 for row in rows)
    assert all(float(row["memory_mib"]) > 100 for row in rows)


def test_steps_that_are_taken_again_stand_in_the_table_once(tmp_path):
    table = StepTable(tmp_path / "steps.csv")
    table.start(0)
    for step in range(1, 6):
        table.add({"step": step, "epoch": 1, "loss": step / 10})
    with (tmp_path / "steps.csv").open("a") as stream:
        stream.write("6,1,0.")
    table.start(3)
    table.add({"step": 4, "epoch": 1, "loss": 9.0})
    rows = [(row["step"], row["loss"]) for row in csv.DictReader((tmp_path / "steps.csv").open())]
    assert rows == [("1", "0.1"), ("2", "0.2"), ("3", "0.3"), ("4", "9.0")]


def test_occupancy_is_that_of_all_alignments():
    draw = torch.Generator().manual_seed(4)
    log_probs = torch.log_softmax(torch.randn(5, 3, generator=draw), dim=-1)
    probabilities = log_probs.double().exp().numpy()
    expected = np.zeros((2, 5))
    # All alignments of two tokens to five frames: where each begins and ends, blanks around them.
    for first in range(5):
        for end in range(first + 1, 5):
            for second in range(end, 5):
                for stop in range(second + 1, 6):
                    path = np.zeros(5, dtype=int)
                    path[first:end], path[second:stop] = 1, 2
                    probability = np.prod(probabilities[np.arange(5), path])
                    expected[0] += probability * (path == 1)
                    expected[1] += probability * (path == 2)
    total = sum(
        np.prod(probabilities[np.arange(5), path])
        for path in np.ndindex(3, 3, 3, 3, 3)
        if [p for p, q in zip(path, (-1, *path[:-1]), strict=True) if p != q and p] == [1, 2]
    )
    np.testing.assert_allclose(occupancy(log_probs, [1, 2]), expected / total, atol=1e-6)
    assert not occupancy(log_probs[:1], [1, 2]).any()


def test_masks_are_red_and_speech_is_grey():
    view = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    view[:, 2] = 0
    view[5:9] = 0
    picture = draw_masked([view, view])
    assert picture.shape == (3 * 17, 60, 3)
    red = (picture == (220, 60, 40)).all(axis=2)
    assert red[:, 10:18].sum() == 2 * 24 * 8
    # Band 2 of 8, counted from below.
    assert red[15:18].all()
    assert (picture[~red][:, 0] == picture[~red][:, 1]).all()
    assert draw_alignment(np.eye(3, 4), ["A", "\u2581B", "C"]).shape == (42, 80 + 16, 3)


def test_weights_and_biases_is_one_override_and_works_without_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    offline = {"tensorboard": False, "wandb": {"project": "asr", "mode": "offline"}}
    train(configuration(tmp_path, trainer__max_epochs=1, logging=offline))
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    # A process of its own writes it.
    deadline = time.monotonic() + 20
    while b"val/wer" not in log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"val/wer" in log.read_bytes()


def test_weights_and_biases_is_asked_for_by_name(monkeypatch):
    with pytest.raises(ConfigError, match=r"wandb\.mode is 'on'; expected online, offline"):
        Logging(wandb={"mode": "on"})
    with pytest.raises(ConfigError, match="expected project, mode"):
        Logging(wandb={"team": "x"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'asr\[wandb\]'"):
        Logging(wandb={"project": "x"})


def test_history_holds_an_epoch_a_line(tmp_path):
    train(configuration(tmp_path, trainer__max_epochs=1, logging={"tensorboard": False}))
    (line,) = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(line)["epoch"] == 1
    assert not (tmp_path / "run" / "tensorboard").exists()
