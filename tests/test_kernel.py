"""Layers as machine code: they give what the equations give, whatever the lengths and the batch."""

import numpy as np
import pytest
import torch
from exported_models import save_random

from asr.export.folder import export_model
from asr.runtime.kernel import machine
from asr.runtime.kernel.part import CompiledPart, Parameters
from asr.runtime.recognizer import ExportedRecognizer


def draw_parameters(inputs: int, units: int, integers: bool) -> Parameters:
    draw = np.random.default_rng(inputs)

    def vector(size: int) -> np.ndarray:
        return draw.normal(0, 0.3, size).astype(np.float32)

    def matrix(rows: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = draw.normal(0, rows**-0.5, (rows, 3 * units)).astype(np.float32)
        if not integers:
            return drawn, np.ones(3 * units, np.float32)
        scales = np.abs(drawn).max(axis=0) / 63
        return np.rint(drawn / scales).astype(np.int8), scales

    W, R = matrix(inputs), matrix(units)
    norm = 1 + vector(inputs), vector(inputs)
    return Parameters(*norm, *W, vector(3 * units), *R, vector(units))


def by_equations(parameters, hidden, state, *, after, backward):
    """Run one utterance ``(U, D)`` from a state ``(H,)`` in float64, as ONNX defines its GRU."""
    p, H = parameters, len(state)
    W, R = p.W * p.W_scales.astype(float), p.R * p.R_scales.astype(float)
    outputs = np.empty((len(hidden), H))
    h = state.astype(float)
    for step in range(len(hidden))[:: -1 if backward else 1]:
        x = hidden[step].astype(float)
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p.norm_weight + p.norm_bias
        given, own = x @ W + p.bias, h @ R
        z, r = (1 / (1 + np.exp(-(given + own)[gate * H : (gate + 1) * H])) for gate in (0, 1))
        recurrent = r * (own[2 * H :] + p.R_bias) if after else (r * h) @ R[:, 2 * H :]
        h = (1 - z) * np.tanh(given[2 * H :] + recurrent) + z * h
        outputs[step] = h
    return outputs, h


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("integers", "limit"), [(False, 1e-6), (True, 1e-3)])
def test_layers_give_what_the_equations_give(integers, limit, after, backward):
    # Sizes that fill no panel, and one that fills several of them side by side.
    for inputs, units in ((33, 7), (24, 12), (70, 32)):
        parameters = draw_parameters(inputs, units, integers)
        part = CompiledPart(machine.compile_walk(integers, after), parameters, backward)
        for lengths in ([5], [1, 1], [7, 30, 0, 30, 12, 1, 2], list(range(70, 0, -1))):
            draw = np.random.default_rng(len(lengths))
            hidden = draw.normal(1, 3, (len(lengths), max(lengths) + 2, inputs)).astype(np.float32)
            states = draw.uniform(-1, 1, (1, len(lengths), units)).astype(np.float32)
            output, final = part(hidden, np.array(lengths), states)
            for row in range(len(lengths))[:8]:
                expected, end = by_equations(
                    parameters,
                    hidden[row, : lengths[row]],
                    states[0, row],
                    after=after,
                    backward=backward,
                )
                np.testing.assert_allclose(output[row, : lengths[row]], expected, atol=limit)
                np.testing.assert_allclose(final[0, row], end, atol=limit)
                # Alone it gives the same to the last bit.
                alone = part(
                    hidden[row : row + 1],
                    np.array(lengths)[row : row + 1],
                    states[:, row : row + 1],
                )
                assert np.array_equal(alone[0][0], output[row])
            assert not output[0, lengths[0] :].any()


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("reset", ["before", "after"])
def test_models_give_what_torch_gives(tmp_path, reset, layers):
    model = save_random(
        tmp_path / "model", layers=layers, reset=reset, bidirectional=layers % 2 == 0
    )
    export_model(tmp_path / "model", tmp_path / "exported")
    acoustic = ExportedRecognizer(tmp_path / "exported", "compiled", 2).acoustic
    generator = torch.Generator().manual_seed(1)
    # Five minutes, a frame, and others between.
    for frames in ([30_000 if layers < 3 else 1000], [1], [200, 51, 1, 3, 120]):
        features = [torch.randn(count, 20, generator=generator) for count in frames]
        found = acoustic.classify([each.numpy() for each in features])
        for own, given in zip(found, features, strict=True):
            with torch.inference_mode():
                expected, _ = model.classify(given[None], torch.tensor([len(given)]))
            np.testing.assert_allclose(own, expected[0].numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("reset", ["before", "after"])
def test_rounded_weights_come_as_near_as_in_onnxruntime(tmp_path, reset):
    model = save_random(tmp_path / "model", layers=2, reset=reset, bidirectional=True)
    export_model(tmp_path / "model", tmp_path / "int8", "int8")
    export_model(tmp_path / "model", tmp_path / "bf16", "bf16")
    features = torch.randn(200, 20, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, _ = model.classify(features[None], torch.tensor([200]))

    def error(precision: str, backend: str) -> float:
        acoustic = ExportedRecognizer(tmp_path / precision, backend, 1).acoustic
        return float(np.abs(acoustic.classify([features.numpy()])[0] - expected[0].numpy()).max())

    assert error("bf16", "compiled") == pytest.approx(error("bf16", "onnx"), abs=1e-4)
    assert 1e-4 < error("int8", "compiled") < 1.2 * error("int8", "onnx")


def test_code_is_kept_and_broken_code_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compile_walk = machine.compile_walk.__wrapped__
    compile_walk(True, True)
    (kept,) = (tmp_path / "asr").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-7])
    compile_walk(True, True)
    assert kept.read_bytes() == whole
    monkeypatch.setattr(machine, "_make", None)
    compile_walk(True, True)
