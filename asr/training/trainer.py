"""The Lightning trainer: one process, several on a machine, several machines."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from asr.errors import ConfigError, TrainingError
from asr.schema import build

# What gloo and NCCL say when another process is gone, or does not answer in time.
LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "TCPStore")


def make_trainer(
    options: Mapping[str, Any], folder: Path, callbacks: Sequence[Callback], loggers: list[Logger]
) -> lightning.Trainer:
    """Make the trainer.

    Args:
        options: arguments of ``lightning.Trainer``, whose precision may be "auto", and
            ``timeout_minutes``: how long a process waits for the others before it gives up.
        folder: the run's folder.
        callbacks: what happens around the steps.
        loggers: where curves go.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    options = dict(options)
    minutes = options.pop("timeout_minutes", 10)
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not minutes > 0:
        raise ConfigError(f"trainer.timeout_minutes is {minutes!r}; expected minutes, above 0")
    if options.get("precision") == "auto":
        options["precision"] = automatic_precision(str(options.get("accelerator", "auto")))
    if options.get("strategy") == "ddp":
        options["strategy"] = DDPStrategy(
            timeout=timedelta(minutes=minutes), gradient_as_bucket_view=True
        )
    try:
        # Lightning would write checkpoints of another kind and requeue the job itself.
        plugins = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None
        trainer = build(
            lightning.Trainer,
            options,
            "trainer",
            callbacks=list(callbacks),
            logger=loggers,
            plugins=plugins,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # The sampler deals batches out to ranks itself.
            use_distributed_sampler=False,
        )
        environment = trainer._accelerator_connector.cluster_environment
        # Lightning compares the job's tasks with these only where it starts processes itself.
        environment.validate_settings(trainer.num_devices, trainer.num_nodes)
        return trainer
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def automatic_precision(accelerator: str, processor: Path = Path("/proc/cpuinfo")) -> str:
    """Choose bfloat16 where the hardware computes in it, which takes half the time, else float32.

    Args:
        accelerator: as for ``lightning.Trainer``.
        processor: where Linux lists what the CPU can do.

    Returns:
        "bf16-mixed" or "32-true".
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        try:
            words = set(processor.read_text(encoding="utf-8").split())
        except OSError:
            words = set()
        # On x86, AVX-512 or AMX with bfloat16; on Arm the third.
        fast = accelerator != "mps" and bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
    return "bf16-mixed" if fast else "32-true"


def end_helpers(trainer: lightning.Trainer) -> None:
    """End the processes that this one has started for the other devices; they would wait for it.

    Args:
        trainer: whose training has failed.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        helpers = list(launcher.procs)
        # Lightning watches this list, and kills this process too when one of them fails.
        launcher.procs.clear()
        for helper in helpers:
            helper.kill()


def is_helper(trainer: lightning.Trainer) -> bool:
    """Tell whether another process of this machine's training has started this one."""
    connector = trainer._accelerator_connector
    return isinstance(connector.cluster_environment, LightningEnvironment) and (
        not trainer.is_global_zero
    )


def explain_lost_process(error: RuntimeError, trainer: lightning.Trainer) -> TrainingError | None:
    """Say in a sentence that another process of this training has gone.

    Args:
        error: what a collective operation raised.
        trainer: tells this process.

    Returns:
        The explained error; None if it has another cause.
    """
    lost = isinstance(error, torch.distributed.DistError) or any(w in str(error) for w in LOST)
    if trainer.world_size == 1 or not lost:
        return None
    reason = " ".join(str(error).split())[:200]
    return TrainingError(
        f"rank {trainer.global_rank} of {trainer.world_size} lost another process in epoch "
        f"{trainer.current_epoch + 1} after {trainer.global_step} steps: look at the output of the "
        "others for the cause; start all of them again, as `torchrun --max-restarts` does, and "
        f"training goes on from the last checkpoint ({reason})"
    )


def quiet_lightning() -> None:
    """Silence what would drown the report."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*log.*interval.*",
        ".*not resumable.*",
        ".*LeafSpec.*",
        # All that is logged is the same on all ranks, or the first rank's own.
        ".*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", message=message)
