"""What trained models teach another one, against NumPy, and how training starts from one."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import MODEL, configuration

from asr.data import collate
from asr.data.batch import Example
from asr.errors import ConfigError, ModelFolderError
from asr.model import CTCModel, build_model
from asr.model_folder import load_model, save_model
from asr.tokenizer import CharacterTokenizer
from asr.training import train
from asr.training.distillation import Distillation
from asr.training.module import CTCTraining
from asr.training.tasks import Tasks

TOKENIZER = CharacterTokenizer("AB ")


def saved(folder: Path, seed: int = 1, letters: str = "AB ", **changes: Any) -> CTCModel:
    """Save a model with random weights; ``section__key=value`` changes single values."""
    torch.manual_seed(seed)
    config = deepcopy(MODEL)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section][name] = value
    tokenizer = CharacterTokenizer(letters)
    model = build_model(config, tokenizer.vocabulary_size)
    save_model(folder, model, tokenizer, config)
    return model


def softmax(logits: np.ndarray) -> np.ndarray:
    chance = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return chance / chance.sum(axis=-1, keepdims=True)


def test_the_distance_is_that_of_numpy_and_so_is_its_gradient(tmp_path):
    model = saved(tmp_path / "a")
    distillation = Distillation(model, TOKENIZER, (str(tmp_path / "a"),), temperature=2.0)
    draw = np.random.default_rng(0)
    logits, theirs = 2 * draw.standard_normal((2, 2, 5, 4))
    lengths = (5, 3)
    own, taught = softmax(logits / 2), softmax(theirs / 2)
    divergence = (taught * np.log(taught / own)).sum(axis=2)
    expected = [4 * row[:length].sum() for row, length in zip(divergence, lengths, strict=True)]
    gradient = 2 * (own - taught)
    gradient[1, 3:] = 0
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    told = torch.log_softmax(torch.tensor(theirs, dtype=torch.float32), dim=-1)
    found = distillation(torch.log_softmax(tensor, dim=-1), torch.tensor(lengths), told)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)
    found.sum().backward()
    np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=1e-6)


def test_teachers_of_any_size_speak_with_one_voice_and_are_not_saved(tmp_path):
    folders = [str(tmp_path / name) for name in "ab"]
    teachers = [saved(tmp_path / "a"), saved(tmp_path / "b", 2, encoder__width=24)]
    distillation = Distillation(teachers[0], TOKENIZER, tuple(folders))
    waveforms = torch.randn(2, 8000) / 10
    lengths = torch.tensor([8000, 6000])
    expected = np.mean(
        [softmax(t.eval()(waveforms, lengths)[0].detach().double().numpy()) for t in teachers], 0
    )
    distillation.train()
    features, counts = teachers[0].features(waveforms, lengths)
    told = distillation.teach(features, counts)
    np.testing.assert_allclose(told[0].exp().numpy(), expected[0], rtol=1e-5)
    assert not distillation.state_dict()
    assert not list(distillation.parameters())


def test_who_is_like_the_teacher_has_nothing_to_learn_from_it(tmp_path):
    saved(tmp_path / "a")
    model = load_model(tmp_path / "a").model.eval()
    distillation = Distillation(model, TOKENIZER, (str(tmp_path / "a"),), weight=0.25)
    waveforms = [torch.randn(size) / 10 for size in (8000, 5000)]
    batch = collate(
        [Example(str(len(w)), "AB", w, torch.tensor([1, 2]), 7, 1.0, 2) for w in waveforms]
    )
    plain = CTCTraining(model, TOKENIZER).batch_losses(batch)
    learner = CTCTraining(model, TOKENIZER, tasks=Tasks(distillation=distillation))
    taught = learner.batch_losses(batch)
    torch.testing.assert_close(taught, 0.75 * plain, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features__n_mels": 20}, r"differs in features.n_mels \(20 there, 16 here\); expected"),
        ({"features__window_ms": 20.0}, r"samples of a window \(320 there, 400 here\)"),
        ({"encoder__subsampling": 2}, r"encoder.subsampling \(2 there, 4 here\)"),
        ({"letters": "AB"}, r"number of tokens \(3 there, 4 here\)"),
        ({"letters": "AC "}, r"token 2 \('C' there, 'B' here\)"),
    ],
)
def test_a_teacher_of_another_kind_is_refused(changes, message, tmp_path):
    model = saved(tmp_path / "own")
    saved(tmp_path / "other", **changes)
    with pytest.raises(ConfigError, match=message):
        Distillation(model, TOKENIZER, (str(tmp_path / "own"), str(tmp_path / "other")))


def test_impossible_values_are_refused(tmp_path):
    model = saved(tmp_path)
    for options, message in (
        ({"teachers": ()}, "teachers names no model folder"),
        ({"weight": 1.0}, r"weight is 1.0; expected a share within \(0, 1\)"),
        ({"temperature": 0.0}, "temperature is 0.0; expected above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Distillation(model, TOKENIZER, **{"teachers": (str(tmp_path),), **options})


def test_training_starts_from_a_trained_model_and_learns_from_it(tmp_path):
    first = train(configuration(tmp_path, trainer__max_epochs=1)).model
    config = configuration(
        tmp_path,
        init_from=str(first),
        auxiliary={"distillation": {"teachers": [str(first)]}},
        output_dir=str(tmp_path / "second"),
        trainer__max_epochs=1,
        # So small that nothing moves.
        optimizer={"lr": 1e-12, "warmup_steps": 1},
    )
    changed = {**MODEL["encoder"], "dropout": 0.3, "kernel": [3, 3]}
    config["model"] = {**MODEL, "encoder": changed}
    second = train(config)
    before, after = (load_model(folder).model.state_dict() for folder in (first, second.model))
    assert before.keys() == after.keys()
    for name, weights in before.items():
        torch.testing.assert_close(after[name], weights, atol=1e-6, rtol=0)
    checkpoint = torch.load(tmp_path / "second" / "last.ckpt", weights_only=False)
    assert all(name.startswith("model.") for name in checkpoint["state_dict"])
    assert math.isfinite(second.wer)
    config["model"]["encoder"]["reset"] = "before"
    config["output_dir"] = str(tmp_path / "third")
    with pytest.raises(ConfigError, match=r"model.encoder.reset \('after' there, 'before' here\)"):
        train(config)
    config["tokenizer"] = {"kind": "sentencepiece", "vocabulary_size": 16}
    with pytest.raises(ConfigError, match=r"tokenizer\.kind is 'characters'; here it is 'sentence"):
        train(config)
    with pytest.raises(ModelFolderError, match="nowhere"):
        train({**config, "init_from": str(tmp_path / "nowhere")})


def test_an_encoder_is_taken_from_a_model_of_other_tokens(tmp_path):
    first = train(configuration(tmp_path, trainer__max_epochs=1)).model
    config = configuration(
        tmp_path,
        init_encoder_from=str(first),
        tokenizer={"kind": "sentencepiece", "vocabulary_size": 16},
        data__skip_infeasible=True,
        output_dir=str(tmp_path / "second"),
        trainer__max_epochs=1,
        optimizer={"lr": 1e-12, "warmup_steps": 1},
    )
    before, after = (load_model(folder).model for folder in (first, train(config).model))
    assert before.head.out_features != after.head.out_features == 16
    for name, weights in before.encoder.state_dict().items():
        torch.testing.assert_close(
            after.encoder.state_dict()[name], weights, atol=1e-6, rtol=0, msg=name
        )
    config["output_dir"] = str(tmp_path / "third")
    with pytest.raises(ConfigError, match="init_from and init_encoder_from are both given"):
        train({**config, "init_from": str(first)})
    features = {**MODEL["features"], "n_mels": 20}
    with pytest.raises(ConfigError, match=r"features\.n_mels \(16 there, 20 here\); expected a"):
        train({**config, "model": {**MODEL, "features": features}})
    encoder = {**MODEL["encoder"], "reset": "before"}
    with pytest.raises(ConfigError, match=r"init_encoder_from names .* model\.encoder\.reset"):
        train({**config, "model": {**MODEL, "encoder": encoder}})
    with pytest.raises(ConfigError, match="init_encoder_from is 3; expected a model folder"):
        train({**config, "init_encoder_from": 3})
