"""An exported model: a folder of ONNX graphs beside the configuration and the vocabulary."""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from asr import __version__
from asr.errors import ModelFolderError, UsageError
from asr.export.encoder import EncoderWriter
from asr.export.features import add_features
from asr.export.graph import OPSET, Graph, Value, Values, WeightFile
from asr.files import atomic_folder, atomic_write
from asr.model import CTCModel, complete_config
from asr.model_config import CONFIG_NAME, read_config, write_config
from asr.model_folder import load_model
from asr.runtime.layout import HEAD, INDEX, SUBSAMPLING, WEIGHTS, WHOLE, direction_name

PRECISIONS = ("fp32", "bf16", "int8")


def export_model(
    source: Path | str,
    folder: Path | str,
    precision: str = "fp32",
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> int:
    """Write a trained model as ONNX graphs that run without torch, whole or not at all.

    ``model.onnx`` is the whole model: ``waveforms`` ``(B, S)`` float32 and ``sample_lengths``
    ``(B,)`` int64 in, ``log_probs`` ``(B, U, V)`` and ``frame_lengths`` ``(B,)`` out, for any batch
    and length. The other graphs are parts of it, from features on, with which ``asr transcribe``
    carries states through recordings of any length. All share the weights in ``model.onnx.data``.

    Args:
        source: the model folder.
        folder: where to write; an exported model there is replaced.
        precision: ``"fp32"``; ``"bf16"``: weights rounded to bfloat16; ``"int8"``: products of
            8-bit integers, which ONNX Runtime computes.
        check: called with the finished folder before it appears in its place; what it gives is
            kept in the configuration, and what it raises leaves nothing behind.

    Returns:
        The bytes of all its files.

    Raises:
        ModelFolderError: the source is no model folder, or the folder holds other things.
        UsageError: no such precision, or a model of other layers than GRU layers.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"no precision '{precision}'; expected {', '.join(PRECISIONS)}")
    source, folder = Path(source), Path(folder)
    saved = load_model(source)
    _check_place(folder)
    model = saved.model.eval()
    with atomic_folder(folder) as place:
        saved.tokenizer.save(place)
        weights = WeightFile(place / WEIGHTS, place / INDEX)
        writer = _FolderWriter(model, place, weights, precision)
        writer.write_whole()
        writer.write_parts()
        weights.close()
        content = read_config(source)
        # A folder of an older version lacks what has a default since.
        content["model"] = complete_config(saved.config)
        content["export"] = {
            "precision": precision,
            "opset": OPSET,
            "versions": {
                "asr": __version__,
                "onnx": onnx.__version__,
                "python": platform.python_version(),
            },
        }
        write_config(place, content)
        if check is not None:
            content["export"]["checked"] = dict(check(place))
            write_config(place, content)
        return sum(path.stat().st_size for path in place.iterdir())


def _check_place(folder: Path) -> None:
    # Replacing another folder would delete whatever lies in it, a trained model too.
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / CONFIG_NAME).is_file() or read_config(folder).get("export") is None:
        raise ModelFolderError(
            f"{folder} exists and is no exported model; name a new folder to export to"
        )


class _FolderWriter:
    def __init__(self, model: CTCModel, place: Path, weights: WeightFile, precision: str) -> None:
        self._model = model
        self._place = place
        self._new: Callable[[], Graph] = lambda: Graph(weights, precision)
        self._writer = EncoderWriter(model)
        self._width = model.encoder.width
        self._vocabulary = model.head.out_features
        self._directions = 2 if model.encoder.bidirectional else 1

    def write_whole(self) -> None:
        graph = self._new()
        features, counts = add_features(graph, self._model.features, "waveforms", "sample_lengths")
        hidden, lengths = self._writer.add_subsampling(graph, features, counts)
        for number, _ in enumerate(self._model.encoder.layers):
            hidden = self._writer.add_layer(graph, number, hidden, lengths)
        _name(graph, self._writer.add_head(graph, hidden), "log_probs")
        _name(graph, lengths, "frame_lengths")
        self._save(
            graph,
            WHOLE,
            {
                "waveforms": (TensorProto.FLOAT, ["batch", "samples"]),
                "sample_lengths": (TensorProto.INT64, ["batch"]),
            },
            {
                "log_probs": (TensorProto.FLOAT, ["batch", "frames", self._vocabulary]),
                "frame_lengths": (TensorProto.INT64, ["batch"]),
            },
        )

    def write_parts(self) -> None:
        frames: Value = (TensorProto.FLOAT, ["batch", "frames", self._width])
        lengths: Value = (TensorProto.INT64, ["batch"])
        graph = self._new()
        hidden, counts = self._writer.add_subsampling(graph, "features", "lengths")
        _name(graph, hidden, "hidden")
        _name(graph, counts, "counts")
        bands = self._model.features.n_mels
        features: Value = (TensorProto.FLOAT, ["batch", "feature_frames", bands])
        self._save(
            graph,
            SUBSAMPLING,
            {"features": features, "lengths": lengths},
            {"hidden": frames, "counts": lengths},
        )
        for number, _ in enumerate(self._model.encoder.layers):
            for direction in range(self._directions):
                self._write_direction(number, direction)
        graph = self._new()
        _name(graph, self._writer.add_head(graph, "hidden"), "log_probs")
        log_probs: Value = (TensorProto.FLOAT, ["batch", "frames", self._vocabulary])
        self._save(graph, HEAD, {"hidden": frames}, {"log_probs": log_probs})

    def _write_direction(self, number: int, direction: int) -> None:
        graph = self._new()
        output, final = self._writer.add_direction(
            graph, number, direction, "hidden", "lengths", "state"
        )
        _name(graph, output, "output")
        _name(graph, final, "final")
        units = self._width // self._directions
        state: Value = (TensorProto.FLOAT, [1, "batch", units])
        self._save(
            graph,
            direction_name(number, direction),
            {
                "hidden": (TensorProto.FLOAT, ["batch", "frames", self._width]),
                "lengths": (TensorProto.INT64, ["batch"]),
                "state": state,
            },
            {"output": (TensorProto.FLOAT, ["batch", "frames", units]), "final": state},
        )

    def _save(self, graph: Graph, name: str, inputs: Values, outputs: Values) -> None:
        model = graph.model(Path(name).stem, inputs, outputs, self._notes())
        with atomic_write(self._place / name, "wb") as stream:
            stream.write(model.SerializeToString())

    def _notes(self) -> dict[str, str]:
        return {
            "sample_rate": str(self._model.sample_rate),
            "samples_per_frame": str(self._model.samples_per_frame),
            "vocabulary_size": str(self._vocabulary),
        }


def _name(graph: Graph, value: str, name: str) -> None:
    graph.add_node("Identity", [value], [name])
