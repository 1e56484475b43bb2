"""Train on two "machines" in one: two network namespaces joined by a cable that can be cut.

    sudo python tools/two_machines.py [--keep FOLDER]

Needs root and iproute2. The namespaces asr-a (10.77.0.1) and asr-b (10.77.0.2) see nothing but each
other. It trains a small model on tones and prints what it found:

1. one process alone, and one in each namespace under torchrun with gloo: the losses of every epoch,
   the error rates, and the largest difference of weights;
2. the worker of one machine killed in mid-epoch: torchrun starts both again, and training goes on
   from the checkpoint to the same weights;
3. no restarts allowed and the cable cut: how long the other takes to end, and what it says.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny_training import MODEL, configuration, history, weights

NAMES, ADDRESSES, PORT = ("asr-a", "asr-b"), ("10.77.0.1", "10.77.0.2"), 29511
TIMEOUT_MINUTES = 0.5
EPOCHS = 3
# Retransmissions before a connection is given up: 102 s at least; 15, the usual, take 15 minutes.
TCP_RETRIES = 8
WORKER = """
import json, os, signal, sys, time
import torch
torch.set_num_threads(1)
from asr.cli import main
from asr.cli import train as verb
from asr.training.module import CTCTraining

step, told = CTCTraining.training_step, sys.argv[2]

def watched(self, batch, batch_idx):
    once = f"{sys.argv[3]}.{told}.{self.global_rank}"
    if (self.current_epoch, batch_idx) == (1, 2) and not os.path.exists(once):
        open(once, "w").close()
        if told == "kill" and self.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if told == "cut":
            time.sleep(3)
    return step(self, batch, batch_idx)

CTCTraining.training_step = watched
config = json.loads(open(sys.argv[1]).read())
verb.run_words = lambda words: verb._train({**config, "chain": {"corpus": None}}, []) and 0
sys.exit(main(["train"]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def connect() -> None:
    """Make the two namespaces and the cable between them."""
    for name in NAMES:
        ip("netns", "add", name)
    ip("link", "add", "cable-a", "netns", NAMES[0], "type", "veth", "peer", "name", "cable-b",
       "netns", NAMES[1])  # fmt: skip
    for name, cable, address in zip(NAMES, ("cable-a", "cable-b"), ADDRESSES, strict=True):
        ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
        ip("-n", name, "link", "set", cable, "up")
        ip("-n", name, "link", "set", "lo", "up")
        # Torchrun's store reads its last answer without a limit (torch 2.11); the kernel's decides.
        ip("netns", "exec", name, "sysctl", "-q", "-w", f"net.ipv4.tcp_retries2={TCP_RETRIES}")


def disconnect() -> None:
    """Remove the namespaces; the cable goes with them."""
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def agent(machine: int, restarts: int, log: Path, *words: str) -> "subprocess.Popen[str]":
    """Start torchrun in a namespace."""
    cable = ("cable-a", "cable-b")[machine]
    command = [
        *("ip", "netns", "exec", NAMES[machine], sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=demo"),
        *(f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}", f"--local-addr={ADDRESSES[machine]}"),
        # A namespace keeps its machine's name, by which torchrun would not know its own address.
        f"--rdzv-conf=is_host={int(machine == 0)},join_timeout=60,read_timeout=15",
        *(f"--max-restarts={restarts}", *words),
    ]
    environment = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": cable,
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    with log.open("w") as stream:
        return subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, text=True, env=environment
        )


def two(folder: Path, name: str, told: str, restarts: int) -> list["subprocess.Popen[str]"]:
    """Start training on both machines."""
    config = configured(folder, name)
    config["trainer"] |= {
        "num_nodes": 2,
        "strategy": "ddp",
        "timeout_minutes": TIMEOUT_MINUTES,
    }
    (folder / "worker.py").write_text(WORKER)
    (folder / f"{name}.json").write_text(json.dumps(config))
    words = (str(folder / "worker.py"), str(folder / f"{name}.json"), told, str(folder / "there"))
    return [agent(m, restarts, folder / f"{name}-{NAMES[m]}.log", *words) for m in (0, 1)]


def configured(folder: Path, name: str) -> dict[str, Any]:
    # Without dropout, whose draws differ by rank, a step over two ranks is the step of one.
    still = {**MODEL, "encoder": {**MODEL["encoder"], "dropout": 0.0}}
    return configuration(
        folder,
        model=still,
        trainer__max_epochs=EPOCHS,
        checkpoint={"every_steps": 1},
        output_dir=str(folder / name),
    )


def compare(folder: Path, one: str, other: str) -> None:
    """Print the losses and WERs of two runs, and how far their weights are apart."""
    for a, b in zip(history(folder / one), history(folder / other), strict=True):
        print(
            f"  epoch {a['epoch']}: loss {a['loss']:.6f} and {b['loss']:.6f}, dev loss "
            f"{a['valid_loss']:.6f} and {b['valid_loss']:.6f}, dev CER {a['valid_cer']:.4f} and "
            f"{b['valid_cer']:.4f} %"
        )
    first, second = weights(folder / one), weights(folder / other)
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    print(f"  weights differ by at most {apart:.1e}")


def said(log: Path) -> str:
    """Give what a log tells of a process that was lost."""
    lines = [line for line in log.read_text().splitlines() if "lost another process" in line]
    return lines[0] if lines else "nothing"


def show_cut(folder: Path) -> None:
    """Cut the cable in the middle of training and print how the machines end."""
    machines = two(folder, "cut", "cut", restarts=0)
    while not all((folder / f"there.cut.{rank}").exists() for rank in (0, 1)):
        time.sleep(0.1)
    ip("-n", NAMES[1], "link", "set", "cable-b", "down")
    cut = time.monotonic()
    # The logs tell when the workers end; torchrun itself waits longer for the other machine.
    ended: dict[str, float] = {}
    while len(ended) < 2 and time.monotonic() - cut < 300:
        for name in NAMES:
            if name not in ended and said(folder / f"cut-{name}.log") != "nothing":
                ended[name] = time.monotonic() - cut
        time.sleep(0.2)
    for name in NAMES:
        print(f"  {name} after {ended.get(name, float('nan')):.0f} s: ", end="")
        print(said(folder / f"cut-{name}.log"))
    for name, machine in zip(NAMES, machines, strict=True):
        try:
            code: int | None = machine.wait(timeout=240)
        except subprocess.TimeoutExpired:
            machine.kill()
            code = None
        print(
            f"  torchrun on {name}: exit code {code}, {time.monotonic() - cut:.0f} s after the cut"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--keep", type=Path, help="keep runs and logs in this new folder")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="two-machines-"))
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    disconnect()
    try:
        connect()
        from asr.training import train

        train(configured(folder, "one"))
        print("1. one process, and two machines")
        codes = [machine.wait(timeout=300) for machine in two(folder, "two", "train", 0)]
        print(f"  exit codes {codes}")
        compare(folder, "one", "two")
        print("2. a worker killed in epoch 2")
        codes = [machine.wait(timeout=300) for machine in two(folder, "killed", "kill", 1)]
        print(f"  exit codes {codes}")
        print("  " + max((said(folder / f"killed-{name}.log") for name in NAMES), key=len))
        compare(folder, "one", "killed")
        print(f"3. the cable cut in epoch 2, trainer.timeout_minutes={TIMEOUT_MINUTES:g}")
        show_cut(folder)
    finally:
        disconnect()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
