"""Where curves go: TensorBoard, Weights & Biases, and a CSV file."""

import csv
import importlib.util
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from asr.errors import ConfigError
from asr.files import atomic_write
from asr.training.run import is_main_process

STEP_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "lr",
    "gradient_norm",
    "padding_share",
    "audio_seconds_per_second",
    "memory_mib",
)
WANDB_ID = "wandb_id"
WANDB_MODES = ("online", "offline")


class Logging:
    """Which records a run keeps.

    Args:
        tensorboard: curves and samples, for ``tensorboard --logdir``.
        pictures: spectrograms and alignments as well.
        csv: ``steps.csv``.
        wandb: ``project`` and ``mode`` for Weights & Biases, if wanted.

    Raises:
        ConfigError: Weights & Biases is asked for and not installed, or its mode is unknown.
    """

    def __init__(
        self,
        tensorboard: bool = True,
        pictures: bool = True,
        csv: bool = True,
        wandb: Mapping[str, str] | None = None,
    ) -> None:
        self.tensorboard = tensorboard
        self.pictures = pictures
        self.csv = csv
        self.wandb = dict(wandb) if wandb else None
        self.identity = ""
        if self.wandb is None:
            return
        if not self.wandb.keys() <= {"project", "mode"}:
            raise ConfigError(f"logging.wandb has {', '.join(self.wandb)}; expected project, mode")
        if self.wandb.setdefault("mode", "online") not in WANDB_MODES:
            raise ConfigError(
                f"logging.wandb.mode is '{self.wandb['mode']}'; expected {', '.join(WANDB_MODES)}"
            )
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError(
                "logging.wandb is set but Weights & Biases is not installed; "
                "run `pip install 'asr[wandb]'`"
            )

    def loggers(self, folder: Path, name: str) -> list[Logger]:
        """Make the loggers.

        Args:
            folder: the run's folder.
            name: the run's name.
        """
        found: list[Logger] = []
        if self.tensorboard:
            found.append(TensorBoardLogger(folder, name="", version="tensorboard"))
        if self.wandb:
            # A run that goes on where it stopped goes on there too.
            kept = folder / WANDB_ID
            self.identity = kept.read_text() if kept.exists() else uuid.uuid4().hex[:12]
            found.append(
                WandbLogger(
                    name=name,
                    save_dir=folder,
                    id=self.identity,
                    resume="allow",
                    project=self.wandb.get("project", "asr"),
                    offline=self.wandb["mode"] == "offline",
                )
            )
        return found

    def remember(self, folder: Path) -> None:
        """Write down what Weights & Biases knows the run by, into its folder."""
        if self.wandb:
            with atomic_write(folder / WANDB_ID) as stream:
                stream.write(self.identity)


def finish(loggers: Iterable[Logger]) -> None:
    """Wait until everything is written; the next run of this process starts anew."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and is_main_process():
            logger.experiment.finish()


class StepTable:
    """``steps.csv``: figures of single steps, each once even if training was repeated.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, step: int) -> None:
        """Begin behind a step; rows of later ones, which are about to be taken again, go."""
        rows = []
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as stream:
                # A killed process may have left half a line.
                rows = [row for row in csv.DictReader(stream) if _step(row) <= step]
        with atomic_write(self.path) as stream:
            writer = csv.DictWriter(stream, STEP_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def add(self, row: Mapping[str, float | None]) -> None:
        """Append the figures of a step, by the names of ``STEP_COLUMNS``."""
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, STEP_COLUMNS, lineterminator="\n").writerow(row)


def _step(row: Mapping[str, str | None]) -> float:
    whole = None not in row and all(value is not None for value in row.values())
    return int(str(row["step"])) if whole and str(row["step"]).isdigit() else float("inf")
