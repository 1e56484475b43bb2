"""Every configuration in the repository is composed, and what it describes is built."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tones import make_tones

from asr.chain import ChainOptions
from asr.cli import main
from asr.errors import ConfigError
from asr.manifest import read_manifest
from asr.model import build_model
from asr.model_folder import save_model
from asr.recognizer import Recognizer
from asr.schema import build
from asr.tokenizer import train_tokenizer
from asr.training import train
from asr.training.checkpoints import Every
from asr.training.data import SpeechData
from asr.training.loggers import Logging
from asr.training.module import CTCTraining
from asr.training.parts import feature_augmentation
from asr.training.sound import sound_augmentation, speed_perturbation, utterance_joining
from asr.training.tasks import auxiliary_losses
from asr.training.trainer import make_trainer

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
# The program of the environment that runs the tests.
ASR = str(Path(sys.executable).with_name("asr"))
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent != CONF
)
RECIPES = sorted(
    f"recipes={path.relative_to(ROOT / 'recipes').with_suffix('')}"
    for path in (ROOT / "recipes").rglob("*.yaml")
)


def composed(*overrides: str) -> dict:
    """Compose a configuration as `asr train` does, as plain values."""
    search = f"hydra.searchpath=['file://{ROOT}']"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [search, *overrides]), resolve=True)
    config.pop("recipes", None)
    chain = config.pop("chain")
    if chain["corpus"]:
        build(ChainOptions, chain, "chain")
    return config


def with_change(config: dict, key: str, value: object) -> dict:
    """Copy nested values with one of them set, by its dotted key."""
    copy = json.loads(json.dumps(config))
    *sections, last = key.split(".")
    place = copy
    for name in sections:
        place = place[name]
    place[last] = value
    return copy


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tones(tmp_path_factory.mktemp("tones"), train=8, valid=2)


def tiny(data: Path, output_dir: Path) -> list[str]:
    """Give the overrides of a run of seconds."""
    return [
        f"data.train={data}/train.jsonl",
        f"data.valid={data}/valid.jsonl",
        f"output_dir={output_dir}",
        *("data.batch_seconds=4", "data.workers=0", "model=gru_tiny"),
        *("trainer=cpu", "trainer.max_epochs=1"),
    ]


def test_there_are_configs_to_test():
    assert len(OPTIONS) > 10
    assert len(RECIPES) >= 2


@pytest.mark.parametrize("override", ["seed=1", *OPTIONS, *RECIPES])
def test_every_config_is_composed_and_built(override, data):
    config = composed(override)
    utterances = read_manifest(data / "train.jsonl")
    size = 16 if config["tokenizer"]["vocabulary_size"] else None
    texts = [utterance.text for utterance in utterances]
    tokenizer = train_tokenizer(
        config["tokenizer"]["kind"], texts, size, config["tokenizer"]["model_type"]
    )
    model = build_model(config["model"], tokenizer.vocabulary_size)
    if taught := config["auxiliary"].get("distillation"):
        assert taught["teachers"] == []
        save_model(data / "teacher", model, tokenizer, config["model"])
        taught["teachers"] = [str(data / "teacher")]
    augment = config["augment"]
    assert augment.keys() == {
        "join",
        "speed",
        "room",
        "noise",
        "warp",
        "equalizer",
        "specaugment",
    }
    build(
        CTCTraining,
        config["optimizer"],
        "optimizer",
        model=model,
        tokenizer=tokenizer,
        augment=feature_augmentation(augment, model),
        tasks=auxiliary_losses(config["auxiliary"], utterances, model, tokenizer),
        seed=config["seed"],
    )
    names = ("train", "valid", "skip_infeasible")
    build(
        SpeechData,
        {key: value for key, value in config["data"].items() if key not in names},
        "data",
        train=utterances,
        valid=utterances,
        tokenizer=tokenizer,
        sample_rate=model.sample_rate,
        speed=speed_perturbation(augment),
        sound=sound_augmentation(augment, utterances, model.sample_rate),
        join=utterance_joining(augment, utterances, tokenizer),
    )
    known = {*inspect.signature(lightning.Trainer).parameters, "timeout_minutes"}
    assert config["trainer"].keys() <= known
    build(Logging, {**config["logging"], "wandb": None}, "logging")
    build(Every, config["checkpoint"], "checkpoint")


@pytest.mark.parametrize("name", ["auto", "cpu", "debug"])
def test_trainers_that_need_no_gpu_are_built(name, tmp_path):
    make_trainer(composed(f"trainer={name}")["trainer"], tmp_path, [], [])


def test_auxiliary_losses_go_together():
    override = "auxiliary=[phonemes,consistency,intermediate]"
    found = composed(override, "auxiliary.consistency.scale=0.1")["auxiliary"]
    chosen = {name for name, options in found.items() if options is not None}
    assert chosen == {"phonemes", "consistency", "intermediate"}
    assert found["consistency"] == {"scale": 0.1, "time_mask_factor": 2.5}
    assert found["phonemes"] == composed("auxiliary=phonemes")["auxiliary"]["phonemes"]
    single = composed("auxiliary=phonemes", "auxiliary.intermediate={weight:0.1}")["auxiliary"]
    assert single == {**found, "consistency": None, "intermediate": {"weight": 0.1}}


def test_all_options_of_a_group_have_the_same_keys():
    for group in {option.partition("=")[0] for option in OPTIONS} - {
        "augment",
        "auxiliary",
        "logging",
    }:
        keys = {
            path.stem: {k: sorted(v) if isinstance(v, dict) else None for k, v in content.items()}
            for path in (CONF / group).glob("*.yaml")
            for content in [yaml.safe_load(path.read_text(encoding="utf-8"))]
        }
        if group == "trainer":
            keys["debug"].pop("detect_anomaly")
        if group == "model":
            own = ["checkpoint_frames", "reset"]
            keys["lstm_small"]["encoder"] = sorted(keys["lstm_small"]["encoder"] + own)
        assert len({json.dumps(value, sort_keys=True) for value in keys.values()}) == 1, group


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("trainer.devcies=2", "'trainer.devices'"),
        ("data.batch_second=9", "'data.batch_seconds'"),
        ("tokenizer.vocab_size=9", "'tokenizer.vocabulary_size'"),
        ("model.features.n_mel=9", "'model.features.n_mels'"),
        ("model.encoder.layer=9", "'model.encoder.layers'"),
        ("augment.specaugment.time_mask=9", "'augment.specaugment.time_masks'"),
        ("optimizer.warmup_step=9", "'optimizer.warmup_steps'"),
        ("checkpoint.every_step=9", "'checkpoint.every_steps'"),
        ("sed=2", "'seed'"),
        ("trianer=cpu", "'trainer'"),
        ("model=gru_smal", "'gru_small'"),
        ("--multirun model=gru_tiny,gru_smal", "'gru_small'"),
        ("recipes=an4/gruu", "'an4/gru'"),
        ("recipes=librispeech/mini chain.frist=train", "'chain.first'"),
    ],
)
def test_a_typo_on_the_command_line_names_the_nearest(override, nearest, capsys):
    assert main(["train", *override.split()]) == 2
    error = capsys.readouterr().err
    assert f"did you mean {nearest}?" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sed", "'seed'"),
        ("data.batch_second", "'batch_seconds'"),
        ("tokenizer.vocab_size", "'vocabulary_size'"),
        ("model.encoders", "'encoder'"),
        ("model.features.n_mel", "'n_mels'"),
        ("model.encoder.layer", "'layers'"),
        ("augment.specaugments", "'specaugment'"),
        ("augment.specaugment.time_mask", "'time_masks'"),
        ("optimizer.warmup_step", "'warmup_steps'"),
        ("checkpoint.every_step", "'every_steps'"),
        ("trainer.devcies", "'devices'"),
    ],
)
def test_a_typo_in_a_dictionary_names_the_nearest_and_writes_nothing(key, nearest, data, tmp_path):
    config = composed(*tiny(data, tmp_path / "run"))
    with pytest.raises(ConfigError, match=f"did you mean {nearest}") as caught:
        train(with_change(config, key, 9))
    assert key.rpartition(".")[2] in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "override",
    [
        *("seed=abc", "checkpoint.every_steps=abc", "optimizer.lr=abc", "optimizer.betas=3"),
        *("data.batch_seconds=abc", "data.workers=abc", "data.workers=-1"),
        *("data.skip_infeasible=maybe", "augment.speed=1.1", "augment.speed=[a]"),
        *("model.encoder.layers=x", "model.encoder.kind=lstm", "model.features.hop_ms=0"),
        *("trainer.max_epochs=abc", "trainer.precision=17", "trainer.devices=foo"),
        *("trainer.max_epochs=-1", "trainer.accelerator=abacus", "trainer.strategy=luck"),
    ],
)
def test_an_impossible_value_is_one_sentence_and_writes_nothing(override, data, tmp_path, capsys):
    assert main(["train", *tiny(data, tmp_path / "run"), override]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert override.partition("=")[0].rpartition(".")[2] in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    ["augment.warp=[1]", "augment.warp=0.6", "augment.equalizer=loud", "augment.speed=1.1"],
)
def test_a_value_in_place_of_a_section_is_told_by_its_option(option, data, tmp_path, capsys):
    assert main(["train", *tiny(data, tmp_path / "run"), option]) == 2
    assert f"{option.partition('=')[0]} is " in capsys.readouterr().err


def test_cfg_job_prints_the_configuration_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--cfg", "job", "recipes=spoken/demo", "trainer.max_epochs=3"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["name"] == "spoken-demo"
    assert printed["trainer"]["max_epochs"] == 3
    assert printed["model"] == composed("model=gru_tiny")["model"]
    assert list(tmp_path.iterdir()) == []


def test_several_values_need_multirun(capsys):
    assert main(["train", "seed=1,2"]) == 2
    assert "'seed=1,2' gives several values; add --multirun" in capsys.readouterr().err


def test_multirun_trains_each_job_in_a_folder_of_its_own(data, tmp_path, capsys):
    assert main(["train", "--multirun", *tiny(data, tmp_path / "sweep"), "seed=1,2"]) == 0
    for job, seed in (("0", 1), ("1", 2)):
        run = tmp_path / "sweep" / job
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        assert (config["seed"], config["output_dir"]) == (seed, str(run))
        assert Recognizer.load(run / "model").notes["seed"] == seed


def test_two_devices_train_one_model_from_the_command_line(data, tmp_path):
    # A folder whose name Hydra's grammar would take apart.
    run = tmp_path / "a=run, 'of two' [ranks]"
    words = [word for word in tiny(data, run) if not word.startswith("output_dir")]
    escaped = str(run).replace("'", "\\'")
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    result = subprocess.run(
        [ASR, "train", *words, *two, f"output_dir='{escaped}'"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("best dev WER") == 1
    assert len((run / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert Recognizer.load(run / "model").notes["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [run.name]
