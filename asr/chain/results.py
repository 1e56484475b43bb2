"""Results as they are published: a table, the exact command, the parameters, and what it ran on."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from asr import __version__
from asr.files import atomic_write
from asr.model_folder import load_model

HEADS = ("set", "utterances", "words", "WER %", "95 % interval", "CER %", "S / D / I")


def write_results(
    path: Path,
    config: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Any]],
    model: Path,
    command: str,
    search: Mapping[str, Any] | None = None,
) -> None:
    """Write a section for a ``RESULTS.md``.

    Args:
        path: the file to make or replace.
        config: the run's configuration.
        scores: what ``score_manifest`` gave, by the name of the manifest.
        model: the model folder that was scored.
        command: how to get these figures again.
        search: what ``tune_model`` gave, the language model's ``name``, the sets that it was tuned
            on (``tune``) and the ``scores`` with it; none without a language model.
    """
    figures = ", ".join(f"{name} {score['wer']:.2f} %" for name, score in scores.items())
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d}: {config['name']}: WER {figures}",
        "",
        *_table(scores),
        "",
        "Greedy decoding, no language model; sets are named as their manifests are.",
        "",
        *(_with_language_model(search) if search else ()),
        "```sh",
        command,
        "```",
        "",
        *_parameters(config, model),
        "",
        *_history(Path(str(config["output_dir"]))),
    ]
    with atomic_write(path) as stream:
        stream.write("\n".join(lines))


def _with_language_model(search: Mapping[str, Any]) -> list[str]:
    return [
        *_table(search["scores"]),
        "",
        f"With the language model {search['name']}: beam search of {search['beam_size']} "
        f"hypotheses, weight {search['lm_weight']:g} and insertion bonus "
        f"{search['insertion_bonus']:g}, tuned on {', '.join(search['tune'])}.",
        "",
    ]


def _table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [HEADS, tuple("---" for _ in HEADS)]
    for name, score in scores.items():
        high = "" if math.isinf(score["high"]) else f"{score['low']:.2f} to {score['high']:.2f}"
        rows.append(
            (
                name,
                f"{score['utterances']:,}",
                f"{score['words']:,}",
                f"**{score['wer']:.2f}**",
                high,
                f"{score['cer']:.2f}",
                f"{score['substitutions']} / {score['deletions']} / {score['insertions']}",
            )
        )
    return [f"| {' | '.join(row)} |" for row in rows]


def _parameters(config: Mapping[str, Any], model: Path) -> list[str]:
    saved = load_model(model)
    averaged = saved.notes.get("averaged_epochs")
    chosen = (
        f"mean of the weights of epochs {', '.join(map(str, averaged))}"
        if averaged
        else f"epoch {saved.notes.get('epoch')}, chosen on {config['data']['valid']}"
    )
    encoder = saved.config["encoder"]
    return [
        f"- model: {saved.model.parameter_count() / 1e6:.2f} M parameters, encoder "
        f"{encoder.get('layers')} x {encoder.get('width')} ({encoder.get('kind', 'gru')}), "
        f"{saved.tokenizer.vocabulary_size} tokens ({saved.tokenizer.kind}); {chosen}",
        f"- training: {config['data']['train']}, {config['trainer']['max_epochs']} epochs, "
        f"{config['data']['batch_seconds']} s of audio a step, seed {config['seed']}, "
        f"precision {config['trainer']['precision']}; all values: config.yaml of the run",
        f"- software: asr {__version__}{_commit()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
        f"- hardware: {_hardware()}",
    ]


def _history(run: Path) -> list[str]:
    """Give a row for some of the epochs, and the time that all took."""
    try:
        text = (run / "history.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    records = [json.loads(line) for line in text.splitlines()]
    step = max(1, len(records) // 10)
    shown = [record for record in records if record["epoch"] % step == 0 or record is records[-1]]
    hours = sum(record["seconds"] for record in records) / 3600
    return [
        f"Training took {hours:.2f} hours.",
        "",
        "| epoch | training loss | dev loss | dev WER % | dev CER % |",
        "|---|---|---|---|---|",
        *(
            f"| {r['epoch']} | {r['loss']:.2f} | {r['valid_loss']:.2f} | {r['valid_wer']:.2f} | "
            f"{r['valid_cer']:.2f} |"
            for r in shown
        ),
        "",
    ]


def _commit() -> str:
    """Name the commit where the package runs from a checkout."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" (commit {found.stdout.strip()})"


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = [
            line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line
        ]
    except OSError:
        names = []
    return f"{torch.get_num_threads()} threads of {names[0] if names else platform.machine()}"
