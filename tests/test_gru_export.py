"""The GRU as one operator of an exported graph, of any batch and length, and as ONNX's GRU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gru_cases import both_forms
from torch import Tensor, nn

from asr.encoder import GRUEncoder
from asr.gru import GRU, onnx_translations

one_or_two_directions = pytest.mark.parametrize("bidirectional", [False, True])
Inputs = tuple[Tensor, ...]
# These are between torch and what it calls.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning", "ignore:.*axis name:UserWarning"
)
AXES = ({0: "batch", 1: "frames"}, {0: "batch"}, {1: "batch"})
# Batch size and frames; the graph is exported with (2, 7).
UNSEEN = [(1, 1), (1, 40), (3, 5), (5, 7)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def batch(gru: GRU, B: int, T: int) -> Inputs:
    """Input, NaN beyond unequal lengths down to none, and initial state."""
    x, lengths = torch.randn(B, T, gru.input_size), (T - 2 * torch.arange(B)).clamp(min=0)
    for b, length in enumerate(lengths.tolist()):
        x[b, length:] = float("nan")
    return x, lengths, torch.randn(gru.num_layers * gru.directions, B, gru.hidden_size)


def dynamic(count: int) -> tuple[dict[int, Any], ...]:
    return tuple({axis: torch.export.Dim(n) for axis, n in names.items()} for names in AXES[:count])


def as_session(module: nn.Module, inputs: Inputs, path: Path) -> Any:
    """Export to ONNX and open with ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(
        module,
        inputs,
        path,
        dynamo=True,
        dynamic_shapes=AXES[: len(inputs)],
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    return runtime.InferenceSession(path)


def run(session: Any, inputs: Inputs) -> list[Tensor]:
    feed = dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))
    return [torch.from_numpy(a) for a in session.run(None, {k: v.numpy() for k, v in feed.items()})]


@both_forms
@one_or_two_directions
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_has_a_node_a_layer_and_gives_the_same(
    reset: str, bidirectional: bool, strict: bool
) -> None:
    gru = GRU(3, 4, 2, reset=reset, bidirectional=bidirectional).eval()
    program = torch.export.export(gru, batch(gru, 2, 7), dynamic_shapes=dynamic(3), strict=strict)
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count(torch.ops.asr.gru_layer.default) == 2
    exported = program.module()
    for size in UNSEEN:
        inputs = batch(gru, *size)
        with torch.no_grad():
            results = gru(*inputs)
        for found, expected in zip(exported(*inputs), results, strict=True):
            assert torch.equal(found, expected)


@both_forms
@one_or_two_directions
def test_onnx_runtime_gives_the_same_for_sizes_not_seen_in_export(
    tmp_path: Path, reset: str, bidirectional: bool
) -> None:
    onnx = pytest.importorskip("onnx")
    gru = GRU(3, 4, 2, reset=reset, bidirectional=bidirectional).eval()
    session = as_session(gru, batch(gru, 2, 7), tmp_path / "gru.onnx")
    nodes = onnx.load(tmp_path / "gru.onnx").graph.node
    attributes = [
        {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for node in nodes
        if node.op_type == "GRU"
    ]
    assert [a["linear_before_reset"] for a in attributes] == [int(reset == "after")] * 2
    for size in UNSEEN:
        inputs = batch(gru, *size)
        for found, expected in zip(run(session, inputs), gru(*inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@both_forms
def test_onnx_runtime_gives_the_same_without_lengths_state_and_biases(
    tmp_path: Path, reset: str
) -> None:
    gru = GRU(3, 4, reset=reset, bidirectional=True, bias=False).eval()
    session = as_session(gru, batch(gru, 2, 7)[:1], tmp_path / "gru.onnx")
    for size in UNSEEN:
        x = torch.randn(*size, 3)
        for found, expected in zip(run(session, (x,)), gru(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_lengths_beyond_the_input_are_taken_for_whole_in_onnx(tmp_path: Path) -> None:
    gru = GRU(3, 4, bidirectional=True).eval()
    session = as_session(gru, batch(gru, 2, 7)[:2], tmp_path / "gru.onnx")
    x = torch.randn(2, 5, 3)
    found, expected = run(session, (x, torch.tensor([9, 3]))), gru(x, torch.tensor([5, 3]))
    torch.testing.assert_close(found, list(expected), rtol=0, atol=1e-6)


def test_an_encoder_is_exported_whole(tmp_path: Path) -> None:
    encoder = GRUEncoder(8, layers=2, width=12, channels=2, reset="before").eval()
    inputs = (torch.randn(2, 30, 8), torch.tensor([30, 21]))
    session = as_session(encoder, inputs, tmp_path / "encoder.onnx")
    for B, T in [(1, 1), (3, 90)]:
        inputs = (torch.randn(B, T, 8), torch.tensor([T, T - 5, 1][:B]))
        for found, expected in zip(run(session, inputs), encoder(*inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_operator_is_as_its_declaration_says() -> None:
    layer = GRU(3, 4, bidirectional=True).layers[0]
    padding = torch.arange(5).view(5, 1, 1) >= torch.tensor([5, 2]).view(1, 2, 1)
    parameters = (p.detach() for p in layer.parameters())
    inputs = (torch.randn(5, 2, 3), torch.randn(2, 2, 4), padding, True, *parameters)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.asr.gru_layer.default, inputs, test_utils=checks)
