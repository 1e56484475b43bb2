"""The LSTM encoder: its equations in NumPy, lengths, what it refuses."""

import numpy as np
import pytest
import torch

from asr.acoustic import TorchAcoustic
from asr.errors import ConfigError, UsageError
from asr.export.encoder import EncoderWriter
from asr.inspection.trace import gru_layers
from asr.lstm import LSTM
from asr.model import build_model
from asr.padding import pad_sequences
from asr.windows import Chunking

LENGTHS = [9, 0, 4, 1]


def small_model(**encoder):
    torch.manual_seed(0)
    options = {"kind": "lstm", "layers": 2, "width": 16, "channels": 4, "dropout": 0.0}
    return build_model({"features": {"n_mels": 20}, "encoder": options | encoder}, 6)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def reference(lstm, rows, suffix):
    """Walk over one sequence ``(T, F)`` as the equations of the LSTM say, in float64."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    W, U, b, c = (getattr(lstm, f"{n}_l0{suffix}").detach().double().numpy() for n in names)
    h = cell = np.zeros(lstm.hidden_size)
    states = []
    for x in rows[::-1] if suffix else rows:
        i, f, g, o = np.split(W @ x + b + U @ h + c, 4)
        cell = logistic(f) * cell + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(cell)
        states.append(h)
    return np.array(states[::-1] if suffix else states).reshape(len(rows), lstm.hidden_size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_sequence_gives_what_the_equations_give_to_it_alone(dtype):
    torch.manual_seed(0)
    lstm = LSTM(5, 6, True).to(dtype)
    batch = torch.randn(len(LENGTHS), 10, 5, dtype=dtype)
    output = lstm(batch, torch.tensor(LENGTHS)).detach().numpy()
    for row, length in enumerate(LENGTHS):
        frames = batch[row, :length].double().numpy()
        expected = np.concatenate([reference(lstm, frames, s) for s in ("", "_reverse")], axis=1)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        np.testing.assert_allclose(output[row, :length], expected, atol=tolerance)
        assert not output[row, length:].any()


def test_padding_has_no_gradient_and_changes_none():
    torch.manual_seed(0)
    lstm = LSTM(5, 6, True).double()
    rows = [torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in LENGTHS]
    batch, lengths = pad_sequences([*rows, torch.zeros(12, 5, dtype=torch.float64)])
    batch = batch.detach().requires_grad_()
    lstm(batch, lengths)[:4].square().sum().backward()
    found = [parameter.grad.clone() for parameter in lstm.parameters()]
    lstm.zero_grad()
    for number, row in enumerate(rows):
        if len(row):
            lstm(row[None], torch.tensor([len(row)])).square().sum().backward()
            torch.testing.assert_close(batch.grad[number, : len(row)], row.grad)
        assert not batch.grad[number, len(row) :].any()
    for grad, parameter in zip(found, lstm.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_model_gives_an_utterance_the_same_alone_and_in_a_batch(bidirectional):
    model = small_model(bidirectional=bidirectional, dropout=0.5).eval()
    generator = torch.Generator().manual_seed(1)
    waveforms = [0.1 * torch.randn(n, generator=generator) for n in (16000, 800, 4000)]
    together, counts = model(*pad_sequences(waveforms))
    for row, waveform in enumerate(waveforms):
        alone, _ = model(waveform[None], torch.tensor([len(waveform)]))
        count = int(counts[row])
        torch.testing.assert_close(together[row, :count], alone[0], rtol=0, atol=1e-5)


def test_bfloat16_autocast_gives_nearly_the_same_in_float32():
    lstm, batch, lengths = LSTM(16, 32, True), torch.randn(3, 20, 16), torch.tensor([20, 7, 1])
    with torch.autocast("cpu", torch.bfloat16):
        output = lstm(batch, lengths)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, lstm(batch, lengths), rtol=0, atol=0.03)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 5e-3), (torch.bfloat16, 0.03)])
def test_a_gpu_gives_what_the_cpu_gives(dtype, tolerance):
    torch.manual_seed(0)
    lstm, batch, lengths = LSTM(16, 32, True), torch.randn(4, 20, 16), torch.tensor(LENGTHS)
    expected = lstm(batch, lengths)
    wanted = torch.autograd.grad(expected.square().sum(), list(lstm.parameters()))
    lstm.cuda()
    with torch.autocast("cuda", dtype, enabled=dtype is not None):
        output = lstm(batch.cuda(), lengths.cuda())
    found = torch.autograd.grad(output.square().sum(), list(lstm.parameters()))
    torch.testing.assert_close(output.cpu(), expected, rtol=0, atol=tolerance)
    for grad, other in zip(found, wanted, strict=True):
        assert (grad.cpu() - other).norm() < 2 * tolerance * other.norm()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_long_recordings_are_cut_into_windows_that_overlap(bidirectional):
    acoustic = TorchAcoustic(small_model(bidirectional=bidirectional).eval())
    assert acoustic.carrier is None
    assert not acoustic.sweeps(Chunking())


def test_a_model_of_the_default_width_has_as_many_parameters_as_the_gru():
    counts = [build_model({"encoder": {"kind": k}}, 241).parameter_count() for k in ("gru", "lstm")]
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


@pytest.mark.parametrize("option", [{"reset": "after"}, {"checkpoint_frames": None}])
def test_options_of_the_gru_are_refused_with_what_to_do(option):
    (name,) = option
    with pytest.raises(ConfigError, match=f"{name} go with 'gru' only.*~model.encoder.{name}"):
        small_model(**option)


def test_what_only_a_gru_can_is_refused():
    model = small_model()
    with pytest.raises(UsageError, match="only models of GRU layers are exported"):
        EncoderWriter(model)
    with pytest.raises(UsageError, match="no GRU layer"):
        gru_layers(model)
    with pytest.raises(ValueError, match="only a GRU encoder carries on"):
        model.classify_next(torch.zeros(1, 8, 20), torch.tensor([8]), [slice(0, 2)], None)
