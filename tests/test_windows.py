"""Windows over long recordings: cover each frame once and give what the whole gives."""

import numpy as np
import pytest
import torch

import asr.windows
from asr.acoustic import encode
from asr.encoder import WIDEST
from asr.errors import AsrError, UsageError
from asr.frame_file import FrameFile
from asr.model import build_model
from asr.tokenizer import BLANK
from asr.windows import CONTEXT_FRAMES, Chunking, Joiner, cut_stretches, cut_windows, find_pause

FRAMES_PER_SECOND = 100


def make_model(subsampling=4, bidirectional=True, reset="after", kernel=(3, 3)):
    torch.manual_seed(2)
    encoder = {
        "layers": 2,
        "width": 16,
        "channels": 4,
        "subsampling": subsampling,
        "bidirectional": bidirectional,
        "reset": reset,
        "kernel": kernel,
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
    """Windows of 4 seconds that reach over by 1 second on either side."""
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(4.0, 1.0))


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
    torch.testing.assert_close(joined, whole(model, features), atol=2e-4, rtol=0)


def test_too_little_context_would_show(short_windows, monkeypatch):
    monkeypatch.setattr(asr.windows, "DEFAULT_CHUNKING", Chunking(4.0, 0.08))
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
        torch.testing.assert_close(row, whole(model, expected), atol=1e-4, rtol=0)


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


@pytest.mark.parametrize(("subsampling", "kernel"), [(2, [WIDEST, 5]), (4, [3, 3])])
@pytest.mark.parametrize("seconds", [0.37, 1.0, 40.0])
def test_an_encoder_of_one_direction_carries_its_state_exactly(subsampling, kernel, seconds):
    model = make_model(subsampling, bidirectional=False, kernel=kernel)
    # An update gate near 0: what was heard long ago still counts.
    for name, parameter in model.named_parameters():
        if name.endswith("gru.layers.0.bias"):
            parameter.detach().chunk(3, dim=1)[1].fill_(-4.0)
    features = recordings(23.456, 0.01, 7.0, 2.0)
    found = encode(model, features, batch_seconds=30.0, chunking=Chunking(seconds, 0.0))
    for row, expected in zip(found, features, strict=True):
        torch.testing.assert_close(row, whole(model, expected), atol=1e-5, rtol=0)
        assert row.argmax(-1).equal(whole(model, expected).argmax(-1))


@pytest.mark.parametrize(("reset", "kernel"), [("before", [3, 3]), ("after", [WIDEST, 5])])
@pytest.mark.parametrize("seconds", [0.37, 1.0, 40.0])
def test_a_bidirectional_encoder_carries_its_states_layer_by_layer_exactly(seconds, reset, kernel):
    model = make_model(reset=reset, kernel=kernel)
    for name, parameter in model.named_parameters():
        if name.endswith("gru.layers.0.bias"):
            parameter.detach().chunk(3, dim=1)[1].fill_(-4.0)
    features = recordings(23.456, 0.01, 7.0, 2.0)
    found = encode(model, features, batch_seconds=30.0, chunking=Chunking(seconds))
    for row, expected in zip(found, features, strict=True):
        torch.testing.assert_close(row, whole(model, expected), atol=1e-5, rtol=0)
        assert row.argmax(-1).equal(whole(model, expected).argmax(-1))


def test_frames_wait_in_a_file_that_vanishes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frames = FrameFile(3)
    values = torch.randn(7, 3).numpy()
    frames.write(4, values[4:])
    frames.write(0, values[:4])
    assert (frames.read(2, 6) == values[2:6]).all()
    frames.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 399, 400, 401, 1203])
def test_stretches_keep_every_frame_once_and_bring_what_the_convolutions_need(frames):
    model = make_model(bidirectional=False)
    kept = []
    for stretch in cut_stretches(0, frames, model, Chunking(1.0, 0.0)):
        offset = stretch.start // 4
        kept += range(offset + stretch.first, offset + stretch.last)
        assert stretch.start == 4 * max(0, offset + stretch.first - CONTEXT_FRAMES)
        assert stretch.stop == min(frames, 4 * (offset + stretch.last + CONTEXT_FRAMES))
    assert kept == list(range(-(-frames // 4)))


def test_a_chunk_length_of_zero_encodes_the_whole_at_once():
    for bidirectional, cut in ((True, cut_windows), (False, cut_stretches)):
        model = make_model(bidirectional=bidirectional)
        (window,) = cut(0, 100_000, model, Chunking(0.0))
        assert (window.start, window.stop, window.first, window.last) == (0, 100_000, 0, 25_000)
        assert not list(cut(0, 0, model, Chunking(0.0)))


@pytest.mark.parametrize(("length", "overlap"), [(-1.0, 0.0), (4.0, -1.0), (4.0, 1.01)])
def test_chunks_without_room_for_their_overlap_are_refused(length, overlap):
    with pytest.raises(UsageError, match="expected"):
        Chunking(length, overlap)


def frames_of(tokens):
    """Log-probabilities whose best path is given."""
    return torch.log_softmax(9.0 * torch.nn.functional.one_hot(torch.tensor(tokens), 4), -1)


@pytest.mark.parametrize(
    ("before", "behind", "pause"),
    [
        ([1, 0, 0, 0, 2, 0], [1, 0, 0, 0, 2, 0], 2),
        ([1, 0, 0, 2, 0, 0, 0, 0], [1, 0, 0, 2, 0, 1, 0, 0], 2),
        ([0, 2, 0, 2, 0], [0, 2, 0, 2, 0], 2),
        ([0, 0, 0], [0, 0, 0], 1),
        ([1, 1, 2], [1, 0, 2], 1),
        ([], [], 0),
    ],
)
def test_windows_are_joined_in_the_longest_pause_that_both_hear(before, behind, pause):
    if not before:
        assert find_pause(torch.empty(0, 4), torch.empty(0, 4)) == 0
    else:
        assert find_pause(frames_of(before), frames_of(behind)) == pause


def test_tokens_on_which_windows_disagree_are_neither_doubled_nor_lost():
    # The second window puts token 3 one frame later; what both share is 8 frames.
    first = frames_of([1, 0, 0, 2, 0, 0, 3, 3, 0, 0, 0, 1])
    second = frames_of([0, 0, 0, 3, 3, 0, 0, 1, 0, 2])
    joiner = Joiner()
    pieces = [joiner.add(first, 0), joiner.add(second, 8), joiner.finish()]
    path = np.concatenate(pieces).argmax(-1).tolist()
    assert len(path) == 14
    collapsed = [t for t, b in zip(path, [BLANK, *path], strict=False) if t not in (BLANK, b)]
    assert collapsed == [1, 2, 3, 1, 2]


def test_memory_that_is_too_small_halves_the_batch(short_windows, monkeypatch):
    model = make_model()
    classify = model.classify
    sizes = []

    def small(features, lengths):
        sizes.append(len(features))
        if len(features) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return classify(features, lengths)

    features = recordings(1.0, 2.0, 3.0, 3.5, 2.5)
    expected = encode(model, features)
    monkeypatch.setattr(model, "classify", small)
    found = encode(model, features)
    assert max(sizes) == 5
    assert sum(size for size in sizes if size <= 2) == 5
    for row, other in zip(found, expected, strict=True):
        torch.testing.assert_close(row, other, atol=1e-5, rtol=0)


def test_a_window_that_fits_no_memory_names_the_remedy(monkeypatch):
    model = make_model()

    def full(features, lengths):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "classify", full)
    with pytest.raises(AsrError, match="smaller --chunk-length"):
        encode(model, recordings(1.0))
