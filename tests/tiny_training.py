"""A training run of seconds on tones, for the tests of training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tones import make_tones

MODEL: dict[str, Any] = {
    "features": {"sample_rate": 16000, "n_mels": 16},
    "encoder": {"layers": 2, "width": 16, "channels": 2, "subsampling": 4, "dropout": 0.1},
}
SCRIPT = """
import json, sys
import torch
torch.set_num_threads(1)
from asr.cli import main
from asr.cli import train as verb
config = json.loads(sys.argv[1])
verb.run_words = lambda words: verb._train({**config, "chain": {"corpus": None}}, []) and 0
sys.exit(main(["train"]))
"""


def configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """Give a configuration; ``section__key=value`` changes single values."""
    if not (folder / "train.jsonl").exists():
        make_tones(folder, train=24, valid=6)
    config: dict[str, Any] = {
        "name": "tones",
        "seed": 3,
        "output_dir": str(folder / "run"),
        "data": {
            "train": str(folder / "train.jsonl"),
            "valid": str(folder / "valid.jsonl"),
            "batch_seconds": 5,
            "workers": 0,
        },
        "tokenizer": {"kind": "characters", "vocabulary_size": None},
        "model": MODEL,
        "augment": {"speed": [0.9, 1.0, 1.1], "specaugment": {"time_width": 4}},
        "auxiliary": {},
        "optimizer": {"lr": 5e-3, "warmup_steps": 5},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "gradient_clip_val": 5.0,
            "log_every_n_steps": 1,
        },
        "checkpoint": {"every_steps": 1000},
        "logging": {"tensorboard": False},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section] = {**config[section], name: value} if name else value
    return config


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a run's last checkpoint."""
    checkpoint = torch.load(run / "last.ckpt", weights_only=False)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def history(run: Path) -> list[dict[str, Any]]:
    """Read the figures of each epoch."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def spawn(config: dict[str, Any], *before: str, **environment: str) -> "subprocess.Popen[str]":
    """Train in a process of its own, as `asr train` does, output and errors together."""
    interpreter = before or (sys.executable,)
    return subprocess.Popen(
        [*interpreter, "-c", SCRIPT, json.dumps(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
