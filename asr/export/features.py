"""Log-mel features as nodes of a graph: what ``asr.features.LogMel`` computes."""

import numpy as np
from onnx import TensorProto

from asr.export.graph import Graph
from asr.features import LogMel
from asr.mel import MIN_STANDARD_DEVIATION, POWER_FLOOR, TYPICAL_STANDARD_DEVIATION


def add_features(graph: Graph, features: LogMel, waveforms: str, lengths: str) -> tuple[str, str]:
    """Add the nodes that turn waveforms into normalised features.

    The spectrum of a frame is a product with cosines and sines, written as a convolution of the
    waveform: with a few hundred taps it takes a hundredth of the encoder's operations, and unlike
    ONNX's STFT every runtime computes it well.

    Args:
        graph: where they go.
        features: what to compute.
        waveforms: the value ``(B, S)``, float32.
        lengths: the value ``(B,)``, int64, in samples.

    Returns:
        The values of the features ``(B, T, F)``, zero behind each utterance's end, and of the
        frame counts ``(B,)``.
    """
    size = graph.add("Slice", graph.add("Shape", waveforms), *map(graph.integers, (1, 2)))
    real = add_mask(graph, lengths, size)
    silenced = graph.add("Where", real, waveforms, graph.constant(0.0))
    power = _power(graph, features, silenced)
    mel = graph.add(
        "MatMul", power, graph.weight("mel", _array(features.mel.mel_scale.fb), exact=True)
    )
    hop = graph.constant(features.hop, np.int64)
    most = graph.add("Max", graph.add("Div", size, hop), graph.integers(1))
    kept = graph.add("Slice", mel, graph.integers(0), most, graph.integers(1))
    log_mel = graph.add("Log", graph.add("Clip", kept, graph.constant(POWER_FLOOR)))
    counts = graph.add("Div", lengths, hop)
    mask = graph.add("Unsqueeze", add_mask(graph, counts, most), graph.integers(2))
    mask = graph.add("Cast", mask, to=TensorProto.FLOAT)
    if features.floor is not None:
        log_mel = _floored(graph, features.floor, log_mel, counts, mask)
    return _normalized(graph, features.normalize, log_mel, counts, mask), counts


def _power(graph: Graph, features: LogMel, waveforms: str) -> str:
    """Add the power spectrum (B, T, bins), with a frame or more than are wanted."""
    window = _array(features.mel.spectrogram.window).astype(np.float64)
    n_fft, hop, taps = features.n_fft, features.hop, len(window)
    # Torch centres a window that is shorter than the transform.
    before = (n_fft - taps) // 2
    angles = 2 * np.pi / n_fft * np.outer(np.arange(n_fft // 2 + 1), before + np.arange(taps))
    kernels = np.concatenate([np.cos(angles) * window, np.sin(angles) * window])
    left = (n_fft - hop) // 2 - before
    spectrum = graph.add(
        "Conv",
        graph.add("Unsqueeze", waveforms, graph.integers(1)),
        graph.weight("fourier", kernels.astype(np.float32)[:, None], exact=True),
        strides=[hop],
        # One frame more, so that the shortest waveform fills one.
        pads=[left, taps - left],
    )
    real, imaginary = graph.add_node("Split", [spectrum], 2, axis=1)
    squares = [graph.add("Mul", part, part) for part in (real, imaginary)]
    return graph.add("Transpose", graph.add("Add", *squares), perm=[0, 2, 1])


def _floored(graph: Graph, floor: object, log_mel: str, counts: str, mask: str) -> str:
    """Add the power of noise as loud as the floor is below the utterance's own frames."""
    power = graph.add("Exp", log_mel)
    total = graph.add("ReduceSum", graph.add("Mul", power, mask), graph.integers(1, 2), keepdims=1)
    level = graph.add("Div", total, _frames(graph, counts))
    shape = graph.weight("floor", np.exp(_array(floor)), exact=True)
    return graph.add("Log", graph.add("Add", power, graph.add("Mul", level, shape)))


def _normalized(graph: Graph, normalize: str, log_mel: str, counts: str, mask: str) -> str:
    if normalize == "none":
        return graph.add("Mul", log_mel, mask)
    first = graph.add("Slice", log_mel, *map(graph.integers, (0, 1, 1)))
    relative = graph.add("Mul", graph.add("Sub", log_mel, first), mask)
    count = _frames(graph, counts)
    centred = graph.add("Mul", graph.add("Sub", relative, _mean(graph, relative, count)), mask)
    if normalize == "mean":
        return graph.add("Div", centred, graph.constant(TYPICAL_STANDARD_DEVIATION))
    variance = _mean(graph, graph.add("Mul", centred, centred), count)
    least = graph.constant(MIN_STANDARD_DEVIATION)
    return graph.add("Div", centred, graph.add("Max", graph.add("Sqrt", variance), least))


def _frames(graph: Graph, counts: str) -> str:
    """Add each utterance's frames, one or more, as a divisor (B, 1, 1)."""
    count = graph.add("Cast", graph.add("Max", counts, graph.integers(1)), to=TensorProto.FLOAT)
    return graph.add("Unsqueeze", count, graph.integers(1, 2))


def _mean(graph: Graph, values: str, count: str) -> str:
    return graph.add("Div", graph.add("ReduceSum", values, graph.integers(1), keepdims=1), count)


def add_mask(graph: Graph, lengths: str, size: str) -> str:
    """Add what tells the real positions of a padded batch from the padding.

    Args:
        graph: where the nodes go.
        lengths: the value ``(B,)``, int64.
        size: the value ``(1,)``, int64, of the padded length N.

    Returns:
        The value ``(B, N)``, bool.
    """
    end = graph.add("Squeeze", size)
    positions = graph.add("Range", graph.constant(0, np.int64), end, graph.constant(1, np.int64))
    return graph.add("Less", positions, graph.add("Unsqueeze", lengths, graph.integers(1)))


def _array(values: object) -> np.ndarray:
    array: np.ndarray = np.asarray(values)
    return array
