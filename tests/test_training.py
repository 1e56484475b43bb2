"""Training: restarts, devices, and errors that stop it early."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_training
import torch
from safetensors.numpy import load_file
from tiny_training import weights

from asr.audio import write_flac
from asr.data import collate
from asr.data.batch import Example
from asr.decoding.decoder import GreedyDecoder
from asr.errors import ConfigError, TrainingError
from asr.manifest import Utterance, write_manifest
from asr.model import build_model
from asr.model_folder import load_model
from asr.recognizer import Recognizer
from asr.scoring.alignment import ErrorCounts, count_errors
from asr.tokenizer import CharacterTokenizer
from asr.training import train
from asr.training.auxiliary import PhonemeLoss
from asr.training.module import CTCTraining
from asr.training.schedule import Schedule
from asr.training.trainer import automatic_precision

RATE = 8000
TINY_MODEL: dict[str, Any] = {
    "features": {"sample_rate": RATE, "n_mels": 16},
    "encoder": {"layers": 1, "width": 32, "channels": 4, "subsampling": 4, "dropout": 0.1},
}


def tone_corpus(folder: Path, count: int, speaker: str) -> Path:
    """Write short recordings in which every letter is a tone of its own."""
    generator = np.random.default_rng(count)
    utterances = []
    for number in range(count):
        text = "".join(generator.permutation(list("ABC")))
        tones = [
            0.3 * np.sin(2 * np.pi * (400 + 500 * "ABC".index(c)) * np.arange(1600) / RATE)
            for c in text
        ]
        waveform = np.concatenate(tones) + 0.01 * generator.standard_normal(1600 * len(text))
        path = folder / f"{speaker}-{number:03d}.flac"
        write_flac(path, waveform.astype(np.float32), RATE)
        duration = len(waveform) / RATE
        utterances.append(Utterance(path.stem, str(path), duration, text, speaker))
    write_manifest(folder / f"{speaker}.jsonl", utterances)
    return folder / f"{speaker}.jsonl"


# With it a few epochs are enough to hear tones apart.
LEARNED_SOON: dict[str, Any] = {
    "data__batch_seconds": 2,
    "augment": {"speed": None},
    "optimizer": {"lr": 7e-3, "warmup_steps": 10, "final_ratio": 1.0},
}


def configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """Give a configuration that trains on tones in seconds."""
    for speaker, count in (("train", 40), ("valid", 8)):
        if not (folder / f"{speaker}.jsonl").exists():
            folder.mkdir(exist_ok=True)
            tone_corpus(folder, count, speaker)
    base = {
        "data__batch_seconds": 4,
        "model": TINY_MODEL,
        "augment": {
            "speed": [0.9, 1.0, 1.1],
            "warp": 0.1,
            "specaugment": {"frequency_width": 4, "time_width": 4},
        },
        "auxiliary": {"phonemes": {"layer": 1}},
        "optimizer__average_decay": 0.9,
        "logging": {},
    }
    return tiny_training.configuration(folder, **{**base, **changes})


def test_tones_are_learned_and_the_exported_model_transcribes_them(tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        trainer__max_epochs=18,
        **LEARNED_SOON,
    )
    result = train(config)
    assert result.wer < 50
    recognizer = Recognizer.load(result.model)
    lines = (tmp_path / "valid.jsonl").read_text().splitlines()
    references = [json.loads(line)["text"] for line in lines]
    paths = [json.loads(line)["audio_filepath"] for line in lines]
    texts = [transcript.text for transcript in recognizer.transcribe_many(paths)]
    right = sum(text == reference for text, reference in zip(texts, references, strict=True))
    # The dev WER counts each of these one-word utterances as right or wrong.
    assert 100 * (1 - right / len(references)) == pytest.approx(result.wer)


def test_the_model_decodes_as_its_dev_wer_was_counted(tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        trainer__max_epochs=10,
        **LEARNED_SOON,
        # So high a sum leaves no two tokens side by side.
        decoder={"rivals_below": 2.0},
    )
    result = train(config)
    recognizer = Recognizer.load(result.model)
    assert recognizer.decoder_options.rivals_below == 2
    utterances = [json.loads(line) for line in (tmp_path / "valid.jsonl").open()]

    def errors() -> ErrorCounts:
        texts = recognizer.transcribe_many([each["audio_filepath"] for each in utterances])
        pairs = [(u["text"], t.text) for u, t in zip(utterances, texts, strict=True)]
        return sum((count_errors(list(a), list(b)) for a, b in pairs), ErrorCounts())

    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    settled = errors()
    assert 100 * settled.rate == pytest.approx(json.loads(history[result.epoch - 1])["valid_cer"])
    recognizer.decoder = GreedyDecoder()
    assert settled != errors()
    with pytest.raises(ConfigError, match=r"decoder\.rivals_below is 3"):
        train({**config, "decoder": {"rivals_below": 3.0}, "output_dir": str(tmp_path / "no")})


def test_without_validation_the_last_epoch_is_exported_and_nothing_else_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = configuration(tmp_path, checkpoint={"choose": "last"}, output_dir=str(tmp_path / "last"))
    with_dev = train(last)
    assert with_dev.epoch == 2 and with_dev.outcome.endswith("in epoch 2, the last")
    capsys.readouterr()
    without = train(configuration(tmp_path, data__valid=[]))
    assert math.isnan(without.wer) and "nothing held out" in without.outcome
    assert "dev WER" not in capsys.readouterr().out
    first, second = ((r.model / "model.safetensors").read_bytes() for r in (with_dev, without))
    assert first == second


def test_half_a_model_is_the_model_rounded(tmp_path: Path) -> None:
    whole = train(configuration(tmp_path)).model / "model.safetensors"
    half = configuration(tmp_path, checkpoint={"half": True}, output_dir=str(tmp_path / "half"))
    folder = train(half).model
    assert whole.stat().st_size > 1.8 * (folder / "model.safetensors").stat().st_size
    expected, found = load_file(whole), load_model(folder).model.state_dict()
    assert expected.keys() == found.keys()
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        assert np.array_equal(weight, expected[name].astype(np.float16).astype(np.float32))


def test_bfloat16_is_chosen_where_the_processor_has_it(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    for flags, precision in (
        ("flags\t: fpu avx2 fma", "32-true"),
        ("flags\t: avx512f avx512_bf16", "bf16-mixed"),
        ("Features\t: fp asimd bf16", "bf16-mixed"),
    ):
        told.write_text(flags)
        assert automatic_precision("cpu", told) == precision
    assert automatic_precision("cpu", tmp_path / "none") == "32-true"
    assert automatic_precision("mps", told) == "32-true"


def test_a_forgotten_validation_set_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.valid names no manifest.*\[\] trains without"):
        train(configuration(tmp_path, data__valid=None))
    kept = {"epochs": 2, "choose": "best"}
    with pytest.raises(ConfigError, match=r"averaging\.choose is 'best', which needs data\.valid"):
        train(configuration(tmp_path, data__valid=[], averaging=kept))


TRAIN_SCRIPT = """
import json, sys
import torch
torch.set_num_threads(1)
from asr.training import train
train(json.loads(sys.argv[1]))
"""


def spawn(config: dict[str, Any]) -> "subprocess.Popen[str]":
    """Train in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN_SCRIPT, json.dumps(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_in_mid_epoch_and_restarted_the_weights_are_bit_for_bit_the_same(
    tmp_path: Path,
) -> None:
    noise = {kind: {"probability": 0.5} for kind in ("white", "babble")}
    shared = {
        "trainer__max_epochs": 3,
        "checkpoint": {"every_steps": 1},
        "data__sorted_epochs": 1,
        "augment": {"speed": [0.9, 1.1], "noise": noise, "equalizer": 3.0},
    }
    whole = configuration(tmp_path, **shared, output_dir=str(tmp_path / "whole"))
    broken = configuration(tmp_path, **shared, output_dir=str(tmp_path / "broken"))
    first = spawn(whole)
    assert first.wait(timeout=120) == 0, first.stdout and first.stdout.read()
    kills = 0
    for _ in range(6):
        process = spawn(broken)
        # The third checkpoint after the start, wherever that falls within an epoch.
        _wait_for_checkpoints(tmp_path / "broken" / "last.ckpt", 3, process)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(timeout=60)
        if kills == 2:
            break
    assert kills == 2
    last = spawn(broken)
    assert last.wait(timeout=120) == 0, last.stdout and last.stdout.read()
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    histories = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "history.jsonl").open()]
        for name in ("whole", "broken")
    ]
    assert len(histories[0]) == len(histories[1]) == 3
    # To the last bit, in the epochs in which a kill fell as well.
    assert histories[0] == histories[1]


def _wait_for_checkpoints(path: Path, count: int, process: "subprocess.Popen[str]") -> None:
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while len(seen) < count and process.poll() is None and time.monotonic() < deadline:
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.002)


def test_the_same_command_after_the_end_changes_nothing(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    first = train(config)
    before = {p: p.read_bytes() for p in (tmp_path / "run" / "model").iterdir()}
    again = train(config)
    assert again.resumed and not first.resumed
    assert again.wer == first.wer and again.epoch == first.epoch
    assert before == {p: p.read_bytes() for p in (tmp_path / "run" / "model").iterdir()}


def test_another_configuration_in_the_same_folder_is_refused_by_key(tmp_path: Path) -> None:
    config = configuration(tmp_path, trainer__max_epochs=1)
    train(config)
    with pytest.raises(TrainingError, match=r"optimizer\.lr \(0\.005 there, 0\.1 now\)"):
        train({**config, "optimizer": {"lr": 0.1, "warmup_steps": 5}})
    # How it computes may change.
    train({**config, "data": {**config["data"], "workers": 1}})


def test_a_folder_of_other_files_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(TrainingError, match="holds files but no run"):
        train(configuration(tmp_path))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_nothing_is_written_when_the_data_does_not_fit(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    line = json.loads((tmp_path / "valid.jsonl").read_text().splitlines()[0])
    (tmp_path / "valid.jsonl").write_text(json.dumps({**line, "text": "ABX"}) + "\n")
    with pytest.raises(Exception, match=r"utterance 'valid-000': character 'X' \(U\+0058\)"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_utterances_too_short_for_ctc_are_named_or_left_out_on_request(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    short = {**json.loads(lines[0]), "text": "ABC" * 20}
    (tmp_path / "train.jsonl").write_text("\n".join([json.dumps(short), *lines[1:]]) + "\n")
    with pytest.raises(TrainingError, match=r"1 utterances are too short .*'train-000'"):
        train(config)
    assert not (tmp_path / "run").exists()
    config["data"]["skip_infeasible"] = True
    config["trainer"]["max_epochs"] = 1
    assert train(config).model.exists()


def test_an_utterance_of_the_training_set_in_validation_is_refused(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    config["data"]["valid"] = config["data"]["train"]
    with pytest.raises(TrainingError, match="40 utterances stand in"):
        train(config)


def test_a_loss_that_is_not_a_number_stops_training_and_names_the_batch(tmp_path: Path) -> None:
    config = configuration(tmp_path, optimizer={"lr": 1e30, "warmup_steps": 0})
    with pytest.raises(TrainingError, match=r"loss is (nan|inf).*train-0"):
        train(config)


def test_audio_that_vanished_is_named(tmp_path: Path) -> None:
    config = configuration(tmp_path, data__workers=1)
    (tmp_path / "train-007.flac").unlink()
    with pytest.raises(Exception, match=r"train-007\.flac") as caught:
        train(config)
    assert "Traceback" not in str(caught.value)


def test_typos_in_every_section_name_the_nearest_key(tmp_path: Path) -> None:
    for section, key, nearest in (
        ("data", "batch_second", "batch_seconds"),
        ("optimizer", "warmup_step", "warmup_steps"),
        ("trainer", "max_epoch", "max_epochs"),
        ("augment", "sped", "speed"),
        ("tokenizer", "knd", "kind"),
        ("checkpoint", "every_step", "every_steps"),
    ):
        config = configuration(tmp_path)
        config[section] = {**config[section], key: 1}
        with pytest.raises(ConfigError, match=f"{section}.{key}.*{nearest}"):
            train(config)


def test_the_learning_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    schedule = Schedule(lr=2.0, warmup_steps=10, final_ratio=0.1)
    assert schedule.at(0, 0.0) == pytest.approx(0.2)
    assert schedule.at(9, 0.0) == pytest.approx(2.0)
    assert schedule.at(100, 0.5) == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert schedule.at(100, 1.0) == pytest.approx(0.2)


def test_the_exported_weights_are_the_moving_average_of_those_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    step = CTCTraining.optimizer_step

    def watched(self: CTCTraining, *args: Any, **kwargs: Any) -> None:
        if not seen:
            seen.append(self.model.head.weight.detach().double().numpy().copy())
        step(self, *args, **kwargs)
        seen.append(self.model.head.weight.detach().double().numpy().copy())

    monkeypatch.setattr(CTCTraining, "optimizer_step", watched)
    train(configuration(tmp_path, trainer__max_epochs=1))
    expected = seen[0]
    for number, weight in enumerate(seen[1:]):
        decay = min(0.9, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
    model = Recognizer.load(tmp_path / "run" / "model").model
    np.testing.assert_allclose(model.head.weight.detach().numpy(), expected, atol=1e-6)
    assert np.abs(expected - seen[-1]).max() > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, "layer is 2; the encoder has layers 1 to 1"),
        ({"weight": 1.0}, r"weight is 1.0; expected a share within \(0, 1\)"),
        ({"layers": 1}, "unknown key 'auxiliary.phonemes.layers'; did you mean 'layer'"),
    ],
)
def test_an_impossible_second_task_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(configuration(tmp_path, auxiliary={"phonemes": options}))
    assert not (tmp_path / "run").exists()


def test_the_second_task_pulls_on_the_layers_below_it_only() -> None:
    torch.manual_seed(0)
    encoder = {**TINY_MODEL["encoder"], "layers": 2}
    model = build_model({**TINY_MODEL, "encoder": encoder}, 4)
    task = PhonemeLoss(["A B C"], width=32, layer=1)
    frames = torch.randn(2, 40, 16)
    _, inner, lengths = model.with_inner_frames(frames, torch.tensor([40, 24]), {task.layer})
    losses = task(inner[task.layer], lengths, ["A B", "C"]).losses
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert (losses > 0).all()
    assert model.encoder.layers[0].gru.layers[0].bias.grad is not None
    assert all(p.grad is None for p in model.encoder.layers[1].parameters())
    assert model.head.weight.grad is None


def test_phonemes_are_scored_as_ctc_scores_any_tokens() -> None:
    torch.manual_seed(0)
    task = PhonemeLoss(["A B C"], width=8, layer=1)
    frames, lengths = torch.randn(1, 12, 8), torch.tensor([12])
    # A is one sound, B and C two each, of which they share the second: eɪ b i s.
    assert [len(task.said[word]) for word in "ABC"] == [1, 2, 2]
    assert task.said["B"][1] == task.said["C"][1]
    log_probs = torch.log_softmax(task.head(task.norm(frames)), dim=-1)
    targets = torch.tensor([task.said["B"] + task.said["A"]])
    expected = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths, torch.tensor([3]), reduction="none"
    )
    torch.testing.assert_close(task(frames, lengths, ["B A"]).losses, expected)
    too_fast = task(frames, torch.tensor([2]), ["B A"])
    assert not too_fast.feasible
    assert not too_fast.losses.any()


TWO_DEVICES = """
import json, sys
import torch
torch.set_num_threads(1)
from asr.training import train
config = json.loads(sys.argv[1])
train(config)
"""


def test_two_devices_train_the_weights_of_one(tmp_path: Path) -> None:
    # Without dropout, whose draws differ by rank, a step over two ranks is the step of one.
    model = {**TINY_MODEL, "encoder": {**TINY_MODEL["encoder"], "dropout": 0.0}}
    script = tmp_path / "train.py"
    script.write_text(TWO_DEVICES)
    wers = []
    for devices in (1, 2):
        config = configuration(
            tmp_path, model=model, output_dir=str(tmp_path / f"devices{devices}")
        )
        noise = {"babble": {"probability": 0.5}}
        more = {"noise": noise, "room": {"probability": 0.5}, "equalizer": 3.0}
        config["augment"] = {**config["augment"], **more}
        config["trainer"] |= {"devices": devices, "max_epochs": 1}
        config["trainer"]["strategy"] = "ddp" if devices > 1 else "auto"
        done = subprocess.run(
            [sys.executable, str(script), json.dumps(config)],
            capture_output=True,
            text=True,
            timeout=200,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        record = json.loads((tmp_path / f"devices{devices}" / "history.jsonl").read_text())
        wers.append((record["valid_wer"], record["valid_loss"]))
    one, two = weights(tmp_path / "devices1"), weights(tmp_path / "devices2")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=1e-3)
    assert wers[1][0] == wers[0][0]
    assert wers[1][1] == pytest.approx(wers[0][1], rel=1e-3)


def test_a_batch_in_two_halves_gives_the_gradients_of_the_whole() -> None:
    torch.manual_seed(0)
    model = build_model({**TINY_MODEL, "encoder": {**TINY_MODEL["encoder"], "dropout": 0.0}}, 4)
    module = CTCTraining(model.double(), CharacterTokenizer(["A", "B", "C"]))

    class Stub:
        world_size = 1

    examples = [
        Example(
            str(size),
            "AB",
            torch.randn(size, dtype=torch.float64),
            torch.tensor([1, 2]),
            size,
            1.0,
            4,
        )
        for size in (4000, 3000, 2000, 1600)
    ]
    module._trainer = Stub()  # type: ignore[assignment]  # Only world_size is asked for.
    module.log = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]  # No loop runs.

    def gradients(parts: list[list[Example]]) -> list[torch.Tensor]:
        model.zero_grad()
        for part in parts:
            module.training_step(collate(part), 0).backward()  # type: ignore[no-untyped-call]  # torch
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for whole, halves in zip(
        gradients([examples]), gradients([examples[::2], examples[1::2]]), strict=True
    ):
        torch.testing.assert_close(whole, halves, atol=1e-4, rtol=1e-4)
