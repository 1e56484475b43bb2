"""Several processes of one launch: one of them prepares the data, and the others wait for it."""

import os
import time

from asr.chain.record import Record

POLL_SECONDS = 2.0


def launch() -> str:
    """Name the joint start of several processes; empty where this process was started alone.

    torchrun and SLURM start all processes at once; Lightning starts its own later, when the data
    is there.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names = ["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"]
    elif int(os.environ.get("SLURM_NTASKS") or 1) > 1:
        names = ["SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"]
    else:
        return ""
    return " ".join(os.environ.get(name, "") for name in names)


def wait_for(ready: Record) -> None:
    """Wait until the main process of the same launch has prepared the data.

    Args:
        ready: what it writes then.
    """
    if not launch():
        # A process that the main one started itself finds the data ready.
        return
    while (content := ready.read()) is None or content["inputs"] != {"launch": launch()}:
        time.sleep(POLL_SECONDS)
