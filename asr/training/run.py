"""A run's folder: one configuration, one writer, and always something whole to go on from."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning_utilities.core.rank_zero import rank_zero_only

from asr.errors import TrainingError
from asr.files import atomic_write
from asr.schema import flatten

CONFIG_NAME = "config.yaml"
# What may differ when a run goes on: where and how it computes, never what.
CHANGEABLE = (
    "output_dir",
    "data.workers",
    "checkpoint.",
    "averaging.",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "trainer.timeout_minutes",
    "logging.",
)


class RunFolder:
    """The folder of one training run.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_checkpoint = path / "last.ckpt"
        self.model = path / "model"
        self.history = path / "history.jsonl"
        self.tokenizer = path / "tokenizer"

    def check(self, config: Mapping[str, Any]) -> bool:
        """Tell whether this run was begun before.

        Args:
            config: the composed configuration.

        Returns:
            True if the folder holds this very run, False if it is new or empty.

        Raises:
            TrainingError: the folder holds something else, or a run of another configuration;
                names the keys that differ.
        """
        path = self.path / CONFIG_NAME
        if not path.exists():
            # The main process of a run on several machines may be writing the configuration now.
            others = self.path.exists() and any(self.path.iterdir())
            if others and is_main_process():
                raise TrainingError(
                    f"{self.path} holds files but no run of `asr train`; choose an empty or new "
                    "output_dir"
                )
            return False
        old = flatten(yaml.safe_load(path.read_text(encoding="utf-8")))
        new = flatten(config)
        differing = [
            f"{key} ({old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now)"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not key.startswith(CHANGEABLE)
        ]
        if differing:
            raise TrainingError(
                f"{self.path} belongs to another run: {'; '.join(differing)}; choose another "
                "output_dir, or the same configuration to go on"
            )
        return True

    def begin(self, config: Mapping[str, Any]) -> None:
        """Make the folder and write the configuration into it."""
        with atomic_write(self.path / CONFIG_NAME) as stream:
            yaml.safe_dump(dict(config), stream, sort_keys=False, allow_unicode=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from training in the same folder.

        Raises:
            TrainingError: another process trains here now.
        """
        with (self.path / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TrainingError(
                    f"another process is training in {self.path}; wait for it or choose another "
                    "output_dir"
                ) from error
            stream.write(str(os.getpid()))
            stream.flush()
            yield


def is_main_process() -> bool:
    """Tell whether this process is the one that writes and prints."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0
