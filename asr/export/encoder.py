"""Encoder and head as nodes of a graph: what ``asr.model.CTCModel`` computes of features."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from asr.encoder import GRUEncoder, ResidualGRU
from asr.errors import UsageError
from asr.export.features import add_mask
from asr.export.graph import Graph
from asr.export.products import add_product
from asr.export.recurrence import add_recurrence, direction_of
from asr.gru.layouts import to_onnx
from asr.model import CTCModel
from asr.runtime.layout import direction_key, norm_key

Arrays = Mapping[str, NDArray[np.float32]]


class EncoderWriter:
    """Writes the parts of a model's encoder into graphs.

    Args:
        model: the model, on the CPU.

    Raises:
        UsageError: its encoder is no GRU.
    """

    def __init__(self, model: CTCModel) -> None:
        if not isinstance(model.encoder, GRUEncoder):
            raise UsageError(
                "only models of GRU layers are exported, and this one has others; use its folder "
                "as it is, or train with model.encoder.kind=gru"
            )
        self._model = model
        self._arrays: Arrays = {
            name: value.detach().float().numpy() for name, value in model.state_dict().items()
        }

    def add_subsampling(self, graph: Graph, features: str, lengths: str) -> tuple[str, str]:
        """Add the convolutions.

        Args:
            graph: where the nodes go.
            features: the value ``(B, T, F)``.
            lengths: the value ``(B,)``, int64, in feature frames.

        Returns:
            The values of the frames ``(B, U, D)`` and of their counts ``(B,)``.
        """
        size = graph.add("Slice", graph.add("Shape", features), *map(graph.integers, (1, 2)))
        hidden = graph.add("Unsqueeze", features, graph.integers(1))
        hidden = _masked(graph, hidden, lengths, size)
        for level, convolution in enumerate(self._model.encoder.subsampling.convolutions):
            assert isinstance(convolution, nn.Conv2d)
            name = f"encoder.subsampling.convolutions.{level}"
            parameters = [self._weight(graph, f"{name}.{kind}") for kind in ("weight", "bias")]
            sides = [size // 2 for size in convolution.kernel_size]
            hidden = graph.add("Conv", hidden, *parameters, strides=[2, 2], pads=[*sides, *sides])
            hidden = graph.add("Relu", hidden)
            lengths, size = _halved(graph, lengths), _halved(graph, size)
            hidden = _masked(graph, hidden, lengths, size)
        rows = graph.add("Transpose", hidden, perm=[0, 2, 1, 3])
        rows = graph.add("Reshape", rows, graph.integers(0, 0, -1))
        return self._linear(graph, "encoder.subsampling.projection", rows), lengths

    def add_direction(
        self, graph: Graph, number: int, direction: int, hidden: str, lengths: str, state: str
    ) -> tuple[str, str]:
        """Add one direction of a layer, without what the layer adds to its input.

        Args:
            graph: where the nodes go.
            number: of the layer, from 0.
            direction: 0 reads forward, 1 backward.
            hidden: the value ``(B, U, D)``.
            lengths: the value ``(B,)``, int64.
            state: the value ``(1, B, H)`` to start from; empty for zeros.

        Returns:
            The values of the output ``(B, U, H)`` and of the state at its end ``(1, B, H)``.
        """
        layer = self._layer(number)
        normalized = self._norm(graph, norm_key(number), hidden)
        x = graph.add("Transpose", normalized, perm=[1, 0, 2])
        size = graph.add("Slice", graph.add("Shape", hidden), *map(graph.integers, (1, 2)))
        mask = graph.add("Transpose", add_mask(graph, lengths, size), perm=[1, 0])
        mask = graph.add("Unsqueeze", mask, graph.integers(2))
        weights = to_onnx(layer.gru.layers[0].state_dict())
        after = layer.gru.reset == "after"
        chosen = direction_of(direction_key(number, direction), weights, direction, after)
        output, final = add_recurrence(graph, chosen, x, lengths, mask, state)
        return graph.add("Transpose", output, perm=[1, 0, 2]), final

    def add_layer(self, graph: Graph, number: int, hidden: str, lengths: str) -> str:
        """Add a whole layer: ``(B, U, D)`` to ``(B, U, D)``; arguments as ``add_direction``."""
        directions = 2 if self._model.encoder.bidirectional else 1
        outputs = [
            self.add_direction(graph, number, direction, hidden, lengths, "")[0]
            for direction in range(directions)
        ]
        output = graph.add("Concat", *outputs, axis=2) if directions == 2 else outputs[0]
        return graph.add("Add", hidden, output)

    def add_head(self, graph: Graph, hidden: str) -> str:
        """Add the last norm and the classifier: ``(B, U, D)`` to ``(B, U, V)`` of logarithms."""
        hidden = self._norm(graph, "encoder.norm", hidden)
        return graph.add("LogSoftmax", self._linear(graph, "head", hidden), axis=2)

    def _layer(self, number: int) -> ResidualGRU:
        layer = self._model.encoder.layers[number]
        assert isinstance(layer, ResidualGRU)
        return layer

    def _norm(self, graph: Graph, name: str, hidden: str) -> str:
        parameters = [self._weight(graph, f"{name}.{kind}") for kind in ("weight", "bias")]
        return graph.add("LayerNormalization", hidden, *parameters, axis=-1, epsilon=1e-5)

    def _linear(self, graph: Graph, name: str, rows: str) -> str:
        weight = self._arrays[f"{name}.weight"].T.copy()
        return add_product(graph, name, rows, weight, self._arrays[f"{name}.bias"])

    def _weight(self, graph: Graph, name: str) -> str:
        return graph.weight(name, self._arrays[name])


def _masked(graph: Graph, hidden: str, lengths: str, size: str) -> str:
    """Set frames (B, C, N, F) behind each utterance's end to zero."""
    mask = graph.add("Unsqueeze", add_mask(graph, lengths, size), graph.integers(1, 3))
    return graph.add("Where", mask, hidden, graph.constant(0.0))


def _halved(graph: Graph, lengths: str) -> str:
    return graph.add("Div", graph.add("Add", lengths, graph.integers(1)), graph.integers(2))
