"""Windows over long recordings: cover each frame once and give what the whole gives."""

import pytest
import torch

import asr.windows
from asr.model import build_model
from asr.windows import cut_windows, encode

FRAMES_PER_SECOND = 100


def make_model(subsampling=4, bidirectional=True):
    torch.manual_seed(2)
    encoder = {
        "layers": 2,
        "width": 16,
        "channels": 4,
        "subsampling": subsampling,
        "bidirectional": bidirectional,
    }
    features = {"sample_rate": 8000, "n_mels": 20}
    model = build_model({"features": features, "encoder": encoder}, 5).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gru.layers.0.bias"):
            # An update gate near 1: a state is forgotten within a few frames.
            gates = parameter.detach().chunk(3, dim=1)
            gates[1].fill_(3.0)
    return model


@pytest.fixture
def short_windows(monkeypatch):
    """Windows of 4 seconds with 1 second of context."""
    monkeypatch.setattr(asr.windows, "WINDOW_SECONDS", 4.0)
    monkeypatch.setattr(asr.windows, "CONTEXT_SECONDS", 1.0)


def recordings(*seconds):
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(int(length * FRAMES_PER_SECOND), 20, generator=generator) for length in seconds
    ]


def whole(model, features):
    with torch.inference_mode():
        return model.classify(features[None], torch.tensor([len(features)]))[0][0]


@pytest.mark.parametrize("subsampling", [2, 4])
def test_windows_keep_every_frame_once_and_in_order(short_windows, subsampling):
    model = make_model(subsampling)
    for frames in [*range(30), *range(390, 410), *range(590, 620), 1000, 4321]:
        kept = []
        for window in cut_windows(7, frames, model):
            assert window.recording == 7
            assert window.start % subsampling == 0
            assert 0 <= window.start < window.stop <= frames
            assert window.frames <= 4 * FRAMES_PER_SECOND
            offset = window.start // subsampling
            encoded = -(-window.frames // subsampling)
            assert 0 <= window.first < window.last <= encoded
            kept += range(offset + window.first, offset + window.last)
        assert kept == list(range(-(-frames // subsampling)))


def test_kept_frames_have_their_context_on_both_sides(short_windows):
    model = make_model()
    frames = 2345
    for window in cut_windows(0, frames, model):
        before = window.first * 4
        after = window.frames - window.last * 4
        assert window.start == 0 or before >= FRAMES_PER_SECOND
        assert window.stop == frames or after >= FRAMES_PER_SECOND


def test_a_recording_within_a_window_is_encoded_whole():
    windows = list(cut_windows(0, 40 * FRAMES_PER_SECOND, make_model()))
    assert [(w.start, w.stop, w.first, w.last) for w in windows] == [(0, 4000, 0, 1000)]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("subsampling", [2, 4])
def test_windows_give_the_log_probabilities_of_the_whole(short_windows, bidirectional, subsampling):
    model = make_model(subsampling, bidirectional)
    (features,) = recordings(23.456)
    assert len(list(cut_windows(0, len(features), model))) > 5
    (joined,) = encode(model, [features])
    torch.testing.assert_close(joined, whole(model, features), atol=1e-5, rtol=0)


def test_too_little_context_would_show(short_windows, monkeypatch):
    monkeypatch.setattr(asr.windows, "CONTEXT_SECONDS", 0.05)
    model = make_model()
    (features,) = recordings(23.456)
    assert (encode(model, [features])[0] - whole(model, features)).abs().max() > 1e-3


@pytest.mark.parametrize("batch_seconds", [0.1, 5.0, 9.0, 1000.0])
def test_the_size_of_batches_changes_nothing(short_windows, batch_seconds):
    model = make_model()
    features = recordings(0.5, 9.0, 0.01, 4.0, 3.99, 13.0)
    found = encode(model, features, batch_seconds)
    assert [len(row) for row in found] == [-(-len(row) // 4) for row in features]
    for row, expected in zip(found, features, strict=True):
        torch.testing.assert_close(row, whole(model, expected), atol=1e-5, rtol=0)


def test_batches_hold_no_more_seconds_than_asked(short_windows, monkeypatch):
    model = make_model()
    sizes = []
    classify = model.classify

    def watch(features, lengths):
        sizes.append((features.shape[0], features.shape[0] * features.shape[1]))
        return classify(features, lengths)

    monkeypatch.setattr(model, "classify", watch)
    encode(model, recordings(0.5, 9.0, 4.0, 3.99, 13.0, 1.0), batch_seconds=8.0)
    assert all(count == 1 or frames <= 8 * FRAMES_PER_SECOND for count, frames in sizes)
    assert len(sizes) < 10


def test_a_recording_without_frames_has_no_log_probabilities():
    model = make_model()
    found = encode(model, [torch.empty(0, 20), *recordings(1.0), torch.empty(0, 20)])
    assert [tuple(row.shape) for row in found] == [(0, 5), (25, 5), (0, 5)]
    assert encode(model, []) == []
