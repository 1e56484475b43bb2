"""Several processes and machines: the losses and error rates of one, and what happens to losses."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_training import MODEL, configuration, history, weights

from asr.data.sampler import BatchSampler, ValidationSampler
from asr.errors import ConfigError, TrainingError
from asr.manifest import Utterance
from asr.training import train
from asr.training.agreement import check_alike
from asr.training.run import RunFolder
from asr.training.trainer import explain_lost_process, make_trainer

# A worker of torchrun; the one of rank 1 dies in the middle of the second epoch, the first time.
WORKER = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
from asr.cli import main
from asr.cli import train as verb
from asr.training.module import CTCTraining

step = CTCTraining.training_step

def dying(self, batch, batch_idx):
    died = sys.argv[1] + ".died"
    here = self.global_rank == 1 and (self.current_epoch, batch_idx) == (1, 2)
    if here and not os.path.exists(died):
        open(died, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

CTCTraining.training_step = dying
config = json.loads(open(sys.argv[1]).read())
verb.run_words = lambda words: verb._train({**config, "chain": {"corpus": None}}, []) and 0
sys.exit(main(["train"]))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def agent(port: int, *words: str) -> "subprocess.Popen[str]":
    """Start torchrun as on one of two machines, with one process on it."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test"),
            *("--rdzv-conf=join_timeout=60", "--max-restarts=1", "--local-addr=127.0.0.1", *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            # Otherwise torchrun keeps one store for all its attempts, and a restarted worker may
            # read the address of one that is dead.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        },
    )


def test_two_machines_train_as_one_and_go_on_when_one_of_them_dies(tmp_path):
    # Without dropout, whose draws differ by rank, a step over two ranks is the step of one.
    still = {**MODEL, "encoder": {**MODEL["encoder"], "dropout": 0.0}}
    common = {"model": still, "trainer__max_epochs": 3, "checkpoint": {"every_steps": 1}}
    train(configuration(tmp_path, **common, output_dir=str(tmp_path / "one")))
    config = configuration(tmp_path, **common, output_dir=str(tmp_path / "two"))
    config["trainer"] |= {"num_nodes": 2, "strategy": "ddp", "timeout_minutes": 1}
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "config.json").write_text(json.dumps(config))
    port = free_port()
    worker = (str(tmp_path / "worker.py"), str(tmp_path / "config.json"))
    machines = [agent(port, *worker), agent(port, *worker)]
    outputs = [machine.communicate(timeout=150)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    told = "".join(outputs)
    assert told.count("lost another process in epoch 2 after") == 1
    assert told.count("going on in") == 1
    assert told.count("best dev WER") == 1
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert two["valid_wer"] == one["valid_wer"]
        assert two["valid_cer"] == one["valid_cer"]
        assert two["valid_loss"] == pytest.approx(one["valid_loss"], rel=1e-4)
        # The epoch in which one of them died is no exception.
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)


def librispeech_like(count: int) -> list[Utterance]:
    # Most of LibriSpeech's training utterances take 11 to 16 seconds.
    draw = np.random.default_rng(1)
    seconds = np.where(
        draw.random(count) < 0.7, draw.uniform(11, 16.5, count), draw.uniform(1.5, 16, count)
    )
    return [Utterance(f"u{i}", f"/{i}", float(s), "A") for i, s in enumerate(seconds)]


@pytest.mark.parametrize("world_size", [2, 8])
def test_ranks_take_as_many_steps_of_nearly_the_same_seconds(world_size):
    utterances = librispeech_like(6_000)
    batch_seconds = 200.0 * world_size
    ranks = [
        list(BatchSampler(utterances, batch_seconds, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    padded = np.array(
        [
            [len(b) * max(utterances[draw.utterance].duration for draw in b) for b in batches]
            for batches in ranks
        ]
    )
    # A step takes as long as its slowest rank; that much the others wait.
    assert padded.max(axis=0).sum() / padded.mean(axis=0).sum() < 1.04
    assert np.ptp(padded.sum(axis=1)) / padded.sum(axis=1).mean() < 0.06


@pytest.mark.parametrize("world_size", [2, 5, 64])
def test_validation_batches_are_those_of_one_process(world_size):
    utterances = librispeech_like(300)
    whole = [[d.utterance for d in b] for b in ValidationSampler(utterances, 100, shuffle=False)]
    shares = [
        [
            [d.utterance for d in b if d.weight]
            for b in ValidationSampler(
                utterances, 100, shuffle=False, rank=rank, world_size=world_size
            )
        ]
        for rank in range(world_size)
    ]
    dealt = sorted(batch for share in shares for batch in share if batch)
    assert dealt == sorted(whole)


def test_ranks_that_see_other_data_are_refused_by_machine():
    facts = {"data.train": "a", "tokenizer": "b"}
    check_alike([("alpha", facts), ("beta", dict(facts))])
    with pytest.raises(TrainingError, match="rank 1 on beta sees another tokenizer than rank 0"):
        check_alike([("alpha", facts), ("beta", {**facts, "tokenizer": "c"})])


def test_a_lost_process_is_told_from_other_failures(tmp_path):
    trainer = make_trainer({"accelerator": "cpu"}, tmp_path, [], [])
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]")
    assert explain_lost_process(lost, trainer) is None

    class Two:
        world_size, global_rank, current_epoch, max_epochs, global_step = 2, 1, 4, 9, 70

    told = explain_lost_process(lost, Two())  # type: ignore[arg-type]  # Only these are asked for.
    assert "rank 1 of 2 lost another process in epoch 5 after 70 steps" in str(told)
    other = explain_lost_process(RuntimeError("shapes differ"), Two())  # type: ignore[arg-type]  # As above.
    assert other is None


def test_only_the_first_rank_judges_a_folder_in_the_making(tmp_path, monkeypatch):
    (tmp_path / ".config.yaml.1.part").touch()
    with pytest.raises(TrainingError, match="holds files but no run"):
        RunFolder(tmp_path).check({})
    monkeypatch.setattr("asr.training.run.is_main_process", lambda: False)
    assert RunFolder(tmp_path).check({}) is False


def test_under_slurm_lightning_takes_its_ranks_and_leaves_requeueing_to_the_batch_file(
    tmp_path, monkeypatch
):
    for name, value in {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "4711",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "node[3-4]",
        "SLURM_NNODES": "2",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    options = {"accelerator": "cpu", "devices": 1, "num_nodes": 2, "strategy": "ddp"}
    trainer = make_trainer(options, tmp_path, [], [])
    environment = trainer._accelerator_connector.cluster_environment
    assert type(environment).__name__ == "SLURMEnvironment"
    assert environment.auto_requeue is False
    assert environment.main_address == "node3"
    assert (trainer.world_size, trainer.num_nodes) == (2, 2)
    with pytest.raises(ConfigError, match=r"SLURM.*--ntasks-per-node=1"):
        make_trainer({**options, "devices": 2}, tmp_path, [], [])
    with pytest.raises(ConfigError, match=r"SLURM.*--nodes=2"):
        make_trainer({**options, "num_nodes": 1}, tmp_path, [], [])
