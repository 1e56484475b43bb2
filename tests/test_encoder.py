"""Encoder and model: lengths, log-probabilities, and independence of the batch."""

import pytest
import torch

from asr.ctc import ctc_loss
from asr.encoder import GRUEncoder
from asr.errors import ConfigError
from asr.model import build_model
from asr.padding import pad_sequences

V = 6


def small_config(**encoder):
    return {
        "features": {"sample_rate": 8000, "n_mels": 20},
        "encoder": {"layers": 2, "width": 16, "channels": 4, "dropout": 0.0} | encoder,
    }


def small_model(**encoder):
    torch.manual_seed(0)
    return build_model(small_config(**encoder), V)


def utterances():
    """Waveforms of very unequal lengths, one shorter than a frame, and transcripts for them."""
    generator = torch.Generator().manual_seed(1)
    lengths = [8000, 2411, 79, 5600, 805]
    waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in lengths]
    tokens = [torch.tensor(ids) for ids in ([1, 2, 2, 3], [4], [], [5, 5, 1], [2])]
    return waveforms, tokens


@pytest.mark.parametrize(("subsampling", "kernel"), [(2, (3, 3)), (4, (3, 3)), (4, (11, 5))])
@pytest.mark.parametrize("frames", range(1, 51))
def test_there_are_as_many_frames_as_the_length_function_says(subsampling, kernel, frames):
    encoder = GRUEncoder(8, 1, 4, subsampling=subsampling, channels=2, kernel=kernel)
    lengths = torch.tensor([frames])
    output, found = encoder(torch.randn(1, frames, 8), lengths)
    expected = -(-frames // subsampling)
    assert output.shape == (1, expected, 4)
    assert found.tolist() == encoder.frame_lengths(lengths).tolist() == [expected]
    assert found.dtype == torch.int64


@pytest.mark.parametrize("subsampling", [2, 4])
def test_lengths_in_a_batch_are_those_of_the_length_function(subsampling):
    encoder = GRUEncoder(8, layers=1, width=4, subsampling=subsampling, channels=2)
    lengths = torch.arange(51)
    _, found = encoder(torch.randn(51, 50, 8), lengths)
    assert found.tolist() == [-(-frames // subsampling) for frames in range(51)]
    assert found.equal(encoder.frame_lengths(lengths))


@pytest.mark.parametrize("subsampling", [2, 4])
def test_the_model_counts_frames_from_samples(subsampling):
    model = small_model(subsampling=subsampling)
    samples = torch.tensor([0, 1, 79, 80, 81, 160, 161, 320, 400, 1600, 1601, 8000])
    _, found = model(torch.zeros(len(samples), 8000), samples)
    assert found.tolist() == [-(-(count // 80) // subsampling) for count in samples.tolist()]
    assert found.equal(model.frame_lengths(samples))
    assert model.samples_per_frame == 80 * subsampling
    assert model.sample_rate == 8000


@pytest.mark.parametrize("training", [True, False])
def test_probabilities_sum_to_one(training):
    model = small_model(dropout=0.3).train(training)
    log_probs, _ = model(*pad_sequences(utterances()[0]))
    assert log_probs.dtype == torch.float32
    sums = log_probs.double().exp().sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("subsampling", [2, 4])
def test_alone_padded_and_shuffled_give_the_same(training, bidirectional, reset, subsampling):
    model = small_model(reset=reset, bidirectional=bidirectional, subsampling=subsampling)
    model.train(training)
    waveforms, _ = utterances()
    order = [3, 0, 4, 2, 1]
    batch, sample_lengths = pad_sequences([*waveforms, torch.zeros(9000)])
    for row, waveform in enumerate(waveforms):
        batch[row, len(waveform) :] = float("nan")
    padded, lengths = model(batch, sample_lengths)
    shuffled, _ = model(batch[order], sample_lengths[order])
    for row, waveform in enumerate(waveforms):
        frames = int(lengths[row])
        alone, alone_lengths = model(waveform[None], torch.tensor([len(waveform)]))
        assert alone_lengths.tolist() == [frames]
        torch.testing.assert_close(padded[row, :frames], alone[0, :frames], atol=1e-5, rtol=0)
        again = shuffled[order.index(row), :frames]
        torch.testing.assert_close(again, alone[0, :frames], atol=1e-5, rtol=0)


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("subsampling", [2, 4])
def test_gradients_of_a_batch_are_the_sum_of_those_of_its_utterances(reset, subsampling):
    model = small_model(reset=reset, subsampling=subsampling)
    waveforms, tokens = utterances()

    def gradients(rows):
        model.zero_grad()
        log_probs, lengths = model(*pad_sequences([waveforms[row] for row in rows]))
        result = ctc_loss(log_probs, lengths, *pad_sequences([tokens[row] for row in rows]))
        assert result.feasible.all()
        result.losses.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    together = gradients(range(5))
    singly = [sum(parts) for parts in zip(*(gradients([row]) for row in range(5)), strict=True)]
    for found, expected in zip(together, singly, strict=True):
        # The sums of a long loss cancel: their rounding goes by the largest gradient.
        largest = expected.abs().max()
        assert largest > 0
        assert (found - expected).abs().max() < 1e-4 * largest


@pytest.mark.parametrize("subsampling", [2, 4])
def test_a_wide_kernel_sees_nothing_of_the_padding(subsampling):
    model = small_model(subsampling=subsampling, kernel=[11, 5]).eval()
    features, lengths = torch.randn(3, 50, 20), torch.tensor([50, 7, 1])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = float("nan")
    together, counts = model.classify(features, lengths)
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        alone, _ = model.classify(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=0)


def test_a_unidirectional_encoder_does_not_look_ahead():
    model = small_model(bidirectional=False, subsampling=2).eval()
    features = torch.randn(1, 100, 20)
    changed = features.clone()
    changed[:, 60:] = 0
    lengths = torch.tensor([100])
    before, after = (model.classify(values, lengths)[0] for values in (features, changed))
    # Frame u sees the feature frames up to 2 u + 1.
    assert before[:, :29].equal(after[:, :29])
    assert not before[:, 30:].equal(after[:, 30:])


def test_bfloat16_autocast_gives_nearly_the_same_in_float32():
    model = small_model()
    waveforms, tokens = utterances()
    batch = pad_sequences(waveforms)
    expected, lengths = model(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = model(*batch)
        losses = ctc_loss(found, lengths, *pad_sequences(tokens)).losses
    losses.sum().backward()
    assert found.dtype == losses.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_dropout_acts_in_training_only():
    model = small_model(dropout=0.5)
    batch = pad_sequences(utterances()[0])
    assert not model.train()(*batch)[0].equal(model(*batch)[0])
    assert model.eval()(*batch)[0].equal(model(*batch)[0])


def test_the_same_seed_gives_the_same_weights():
    first, second = small_model().state_dict(), small_model().state_dict()
    assert all(first[name].equal(second[name]) for name in first)


def test_parameters_are_counted():
    # By hand, subsampling 4 from 20 bands, 4 channels: convolutions (9 + 1) 4 and (36 + 1) 4, the
    # projection (20 + 1) 16; a layer: two norms' numbers 32 and two directions of 3 * 8 * (16 + 8)
    # weights, 3 * 8 and 8 biases; the last norm 32, the head (16 + 1) 6.
    layer = 32 + 2 * (3 * 8 * (16 + 8) + 3 * 8 + 8)
    expected = 40 + 148 + 336 + 2 * layer + 32 + 102
    assert small_model().parameter_count() == expected


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"encoderr": {}}, "unknown key 'model.encoderr'; did you mean 'encoder'"),
        ({"encoder": {"widht": 8}}, "unknown key 'model.encoder.widht'; did you mean 'width'"),
        ({"features": {"n_mel": 8}}, "unknown key 'model.features.n_mel'; did you mean 'n_mels'"),
        ({"encoder": {"n_mels": 8}}, "unknown key 'model.encoder.n_mels'"),
        ({"encoder": {"xyzzy": 8}}, "there are layers, width"),
        ({"encoder": {3: 8}}, "unknown key 'model.encoder.3'"),
        ({"encoder": {"kind": "rnn"}}, "model.encoder.kind is 'rnn'; expected gru, lstm"),
        ({"encoder": {"kind": ["gru"]}}, "expected gru"),
        ({"encoder": {"reset": "never"}}, "model.encoder.reset is 'never'; expected 'before' or"),
        ({"encoder": {"subsampling": 3}}, "model.encoder.subsampling is 3; expected 2 or 4"),
        ({"encoder": {"width": 15}}, "model.encoder.width is 15; two directions need an even"),
        ({"encoder": {"width": 0}}, "width is 0; expected 1 or more"),
        ({"encoder": {"channels": 0}}, "channels is 0"),
        ({"encoder": {"layers": 0}}, "model.encoder.layers is 0; expected 1 or more"),
        ({"encoder": {"dropout": 1.5}}, "model.encoder.dropout is 1.5"),
        ({"encoder": {"kernel": [4, 3]}}, "kernel is .4, 3.; expected two odd numbers"),
        ({"encoder": {"kernel": [15, 3]}}, "kernel is .15, 3.; .* the frames no more than 13"),
        ({"encoder": {"kernel": [3, -1]}}, "kernel is .3, -1.; expected two odd numbers"),
        ({"encoder": {"kernel": 3}}, "model.encoder.kernel is 3; expected a list 2 of int"),
        ({"encoder": {"width": "wide"}}, "model.encoder.width is 'wide'; expected int"),
        ({"encoder": {"width": True}}, "model.encoder.width is True; expected int"),
        ({"encoder": {"bidirectional": 1}}, "model.encoder.bidirectional is 1; expected bool"),
        ({"encoder": "gru"}, "model.encoder is 'gru'; expected keys and values"),
        ([1], "model is .1.; expected keys and values"),
    ],
)
def test_a_config_that_is_off_is_refused(config, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        build_model(config, V)
    assert "\n" not in str(caught.value)


def test_an_empty_section_means_its_defaults():
    model = build_model({"features": None}, V)
    assert model.features.n_mels == 80
    assert model.encoder.width == 384
