"""SIGTERM ends training behind a checkpoint, with its own exit code, and nothing is lost."""

import os
import signal
import sys
import time
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tiny_training import configuration, history, spawn, weights

from asr.cli import main
from asr.errors import ConfigError, PreemptedError
from asr.training import train
from asr.training.checkpoints import Checkpoints, Every
from asr.training.interruption import interruptible
from asr.training.module import CTCTraining
from asr.training.preemption import ignore_first_sigterm


def raise_signal_in(
    monkeypatch: pytest.MonkeyPatch, method: str, number: signal.Signals, call: int
) -> None:
    """Send this process a signal at the given call, from 1, of one of the module's methods."""
    original = getattr(CTCTraining, method)
    calls = 0

    def signalled(self: CTCTraining, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(number)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(CTCTraining, method, signalled)


@pytest.mark.parametrize(
    ("method", "number", "call", "where"),
    [
        ("training_step", signal.SIGTERM, 3, "behind batch 3 of"),
        ("training_step", signal.SIGUSR1, 8, "behind batch"),
        ("validation_step", signal.SIGTERM, 1, "during validation"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_weights(
    method, number, call, where, tmp_path, monkeypatch
):
    train(configuration(tmp_path, output_dir=str(tmp_path / "whole")))
    broken = configuration(tmp_path, output_dir=str(tmp_path / "broken"))
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        raise_signal_in(patch, method, number, call)
        # As if validation came long after the last checkpoint.
        patch.setattr("asr.training.checkpoints.VALIDATION_RISK_SECONDS", 0.0)
        with pytest.raises(PreemptedError, match=f"stopped by {number.name} .*{where}") as stopped:
            train(broken)
    assert stopped.value.exit_code == 143
    assert signal.getsignal(number) == handler
    assert (tmp_path / "broken" / "last.ckpt").exists()
    assert train(broken).resumed
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for one, other in zip(history(tmp_path / "whole"), history(tmp_path / "broken"), strict=True):
        assert one["loss"] == other["loss"]


def test_the_command_line_ends_with_143_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    config = configuration(tmp_path)
    raise_signal_in(monkeypatch, "training_step", signal.SIGTERM, 2)
    monkeypatch.setattr("asr.cli.train.run_words", lambda words: train(config) and 0)
    assert main(["train"]) == 143
    assert "the same command goes on from the last checkpoint" in capsys.readouterr().err


def test_a_job_whose_every_process_is_signalled_still_writes_its_checkpoint(tmp_path):
    # As SLURM and `kill -- -GROUP` do it: the process that trains and those that read audio.
    config = configuration(
        tmp_path, data__workers=2, trainer__max_epochs=500, checkpoint={"every_steps": 1}
    )
    process = spawn(config, "setsid", sys.executable)
    last = tmp_path / "run" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    before = torch.load(last, weights_only=False)["global_step"]
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143, output
    assert "stopped by SIGTERM" in output
    assert torch.load(last, weights_only=False)["global_step"] >= before


def test_checkpoints_come_every_so_many_steps_or_minutes(tmp_path, monkeypatch):
    saved: list[int] = []
    clock = iter(range(10_000))
    save = Checkpoints._save

    def noted(self: Checkpoints, trainer: Any) -> None:
        saved.append(trainer.global_step)
        save(self, trainer)

    monkeypatch.setattr(Checkpoints, "_save", noted)
    train(configuration(tmp_path, trainer__max_epochs=1))
    assert saved == [6]
    saved.clear()
    config = configuration(tmp_path, trainer__max_epochs=1, output_dir=str(tmp_path / "steps"))
    train({**config, "checkpoint": {"every_steps": 3, "every_minutes": None}})
    assert saved == [3, 6]
    saved.clear()
    # Every look at the clock is a second later; a step looks once and a checkpoint once more.
    monkeypatch.setattr("asr.training.checkpoints.monotonic", lambda: next(clock))
    config = configuration(tmp_path, trainer__max_epochs=1, output_dir=str(tmp_path / "minutes"))
    train({**config, "checkpoint": {"every_minutes": 2 / 60}})
    assert saved == [2, 4, 6]


@pytest.mark.parametrize("options", [{"every_steps": 0}, {"every_minutes": 0}])
def test_an_impossible_interval_is_refused(options):
    (key,) = options
    with pytest.raises(ConfigError, match=f"checkpoint.{key} is 0; expected"):
        Every(**options)


def test_a_reader_outlives_one_signal_and_not_two():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        ignore_first_sigterm(0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_ends_training_behind_the_batch():
    callbacks: list[Callback] = []

    class Trainer:
        interrupted = False

    class Deleted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    before, reached = signal.getsignal(signal.SIGINT), False
    trainer: Any = Trainer()
    trainer.callbacks = callbacks
    with pytest.raises(KeyboardInterrupt), interruptible(trainer):
        Deleted()
        reached = True
        callbacks[-1].on_train_batch_end(trainer, trainer, None, None, 0)
        pytest.fail("the interrupt was lost")
    assert reached
    assert signal.getsignal(signal.SIGINT) is before
