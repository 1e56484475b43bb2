"""The GRU by cuDNN and by Triton: what can be shown on the CPU, and the rest where a GPU is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gru_cases import both_forms, make, noise
from test_gru import by_steps
from torch import Tensor

from asr.gru import GRU, cudnn, fused
from asr.gru.backend import choose_backend, force_backend, has_triton
from asr.gru.convert import to_torch
from asr.gru.layer import run_layer
from asr.gru.recurrence import Weights

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def through_cudnn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Run layers by the cuDNN function in float64, on the CPU; gives the calls counted."""
    calls = [0]

    def run(*arguments: object) -> tuple[Tensor, Tensor]:
        calls[0] += 1
        x, state, padding, weights, after, dtype = arguments
        assert after
        return cudnn.run_layer(x, state, padding, weights, dtype)

    monkeypatch.setattr("asr.gru.parameters.run_layer", run)
    yield calls


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lengths", [[7, 7], [7, 3, 0, 1]])
def test_the_cudnn_function_is_the_equations(
    through_cudnn: list[int], bidirectional: bool, bias: bool, lengths: list[int]
) -> None:
    gru = make("after", bias=bias, bidirectional=bidirectional)
    x = noise(len(lengths), 7, 5).requires_grad_()
    state = noise(2 * gru.directions, len(lengths), 6).requires_grad_()
    sizes = torch.tensor(lengths)
    outputs = gru(x, sizes, state)
    assert through_cudnn == [2]
    expected = by_steps(gru, x, sizes, state)
    for found, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    u, v = (noise(*found.shape) for found in outputs)
    leaves = [x, state, *gru.parameters()]
    ours = torch.autograd.grad((outputs[0] * u).sum() + (outputs[1] * v).sum(), leaves)
    theirs = torch.autograd.grad((expected[0] * u).sum() + (expected[1] * v).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_the_cudnn_function_without_lengths_and_state() -> None:
    p = make("after", bidirectional=True).layers[0]
    weights = Weights(p.weight_input, p.weight_recurrent, p.bias, p.bias_recurrent)
    x = noise(7, 3, 5)
    found = cudnn.run_layer(x, None, None, weights, torch.float64)
    expected = run_layer(x, None, None, weights, True, torch.float64)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_the_cudnn_function_takes_products_in_bfloat16() -> None:
    gru, x = GRU(16, 32, bidirectional=True), torch.randn(3, 20, 16)
    lengths = torch.tensor([20, 3, 11])
    exact = gru(x, lengths)[0]
    with force_backend("cudnn"), torch.autocast("cpu", torch.bfloat16):
        output, final = gru(x, lengths)
    assert output.dtype == final.dtype == torch.float32
    torch.testing.assert_close(output, exact, rtol=0, atol=0.05)
    assert not torch.equal(output, exact)


def test_parameters_go_to_cudnn_in_one_buffer_as_it_orders_them() -> None:
    p = make("after", bidirectional=True).layers[0]
    named = to_torch(dict(p.named_parameters()), 0)
    weights = cudnn.in_one_buffer(named, torch.float64)
    starts = [w.storage_offset() for w in weights]
    assert len({w.untyped_storage().data_ptr() for w in weights}) == 1
    # All weights come before all biases: W, U of both directions, then theirs.
    order = [0, 1, 4, 5, 2, 3, 6, 7]
    assert sorted(range(8), key=lambda i: starts[i]) == order
    assert weights[0].untyped_storage().nbytes() == 8 * sum(w.numel() for w in weights)


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
def test_the_kernels_are_right_in_tritons_interpreter() -> None:
    tests = Path(__file__).with_name("gru_interpreted.py")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests)],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-1000:]


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
@pytest.mark.parametrize("name", ["forward_kernel", "backward_kernel"])
@pytest.mark.parametrize("phases", [0, 1, 2])
def test_the_kernels_compile_for_hopper_gpus_without_one(
    name: str, phases: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter compiles nothing")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from asr.gru import kernels

    work = fused.plan(32, 800, 2, 2, 132)
    constants = {"D": 2, "H": 800, "PHASES": phases, "PADDED": True, "PRECISION": "ieee"}
    constants |= {"ROWS": work.rows, "UNITS": work.units, "INNER": work.inner}
    pointers = {"padding": "*u8", "counters": "*i32"}
    pointers |= dict.fromkeys(("gates", "states", "carry", "grad_output"), "*fp32")
    pointers |= dict.fromkeys(("low", "reset_low", "U", "d_gates"), "*bf16")
    kernel = getattr(kernels, name)
    names = kernel.arg_names
    types = {n: pointers.get(n, "constexpr" if n in constants else "i32") for n in names}
    place = {n: (i,) for i, n in enumerate(names)}
    aligned = {place[n]: [["tt.divisibility", 16]] for n in names if n in pointers}
    values = {place[n]: value for n, value in constants.items()}
    compiled = triton.compile(
        ASTSource(kernel, types, values, aligned),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": work.warps},
    )
    assert compiled.metadata.shared < 200_000
    code = compiled.asm["ptx"]
    assert "f32.bf16.bf16.f32" in code  # products on tensor cores
    assert "cp.async" in code  # loads run ahead
    waits = "ld.global.gpu.acquire" in code or "atom.global.gpu.acquire" in code
    assert waits == ("atom.global.gpu.release" in code) == (phases == 0)


@both_forms
def test_cpus_and_float64_run_by_pytorch(reset: str) -> None:
    x, after = torch.zeros(1, 1, 1), reset == "after"
    assert choose_backend(x, after, torch.float32, torch.float32) == "torch"
    with force_backend("cudnn" if after else "triton"):
        assert choose_backend(x, after, torch.float64, torch.float64) == "torch"
        assert choose_backend(x, not after, torch.float32, torch.float32) == "torch"
        assert choose_backend(x[:0], after, torch.float32, torch.float32) == "torch"
        if after or has_triton():
            assert choose_backend(x, after, torch.float32, torch.bfloat16) != "torch"
    assert choose_backend(x, after, torch.float32, torch.float32) == "torch"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="cuddn"), force_backend("cuddn"):
        pass


@pytest.mark.parametrize("batch", [1, 16, 33, 500, 5000])
@pytest.mark.parametrize("hidden", [1, 100, 256, 800, 2048])
@pytest.mark.parametrize("directions", [1, 2])
def test_programs_that_wait_for_each_other_all_fit_on_the_gpu(
    batch: int, hidden: int, directions: int
) -> None:
    work = fused.plan(batch, hidden, directions, 2, 132)
    assert work.rows * work.batch_blocks >= batch
    assert work.programs == 1 or directions * work.batch_blocks * work.programs <= 132
    assert min(work.rows, work.units, work.inner) >= 16
    each_phase = fused.plan(batch, hidden, directions, 2)
    assert each_phase.walk or each_phase.programs * each_phase.units >= hidden


def on_device(
    gru: GRU, x: Tensor, lengths: Tensor, dtype: torch.dtype, backend: str | None
) -> list[Tensor]:
    """Output, final states and gradients of the parameters on the GPU, in float32."""
    gru = gru.cuda()
    leaf = x.cuda().requires_grad_()
    half = torch.autocast("cuda", dtype, enabled=dtype != torch.float32)
    if backend is None:
        with half:
            output, final = gru(leaf, lengths)
    else:
        with half, force_backend(backend):
            output, final = gru(leaf, lengths)
    loss = (output * torch.linspace(-1, 1, output.numel()).view_as(output).cuda()).sum()
    grads = torch.autograd.grad(loss + final.square().sum(), [leaf, *gru.parameters()])
    return [tensor.float() for tensor in (output, final, *grads)]


def assert_near(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


cases = pytest.mark.parametrize(
    ("reset", "backend"), [("after", "cudnn"), ("before", "triton"), ("before", "triton-walk")]
)


@on_gpu
@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("hidden", [40, 200, 300])
def test_the_gpu_agrees_with_the_pytorch_path(
    reset: str, backend: str, dtype: torch.dtype, tolerance: float, hidden: int
) -> None:
    gru = GRU(30, hidden, 2, reset=reset, bidirectional=True)
    x, lengths = torch.randn(19, 50, 30), torch.randint(0, 51, (19,))
    expected = on_device(gru, x, lengths, torch.float32, "torch")
    allow = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        assert_near(on_device(gru, x, lengths, dtype, backend), expected, tolerance)
    finally:
        torch.backends.cudnn.allow_tf32 = allow


@on_gpu
@cases
def test_five_layers_of_800_on_the_gpu(reset: str, backend: str) -> None:
    gru = GRU(80, 800, 5, reset=reset, bidirectional=True)
    x, lengths = torch.randn(32, 375, 80), 375 - 4 * torch.arange(32)
    expected = on_device(gru, x, lengths, torch.bfloat16, "torch")
    assert_near(on_device(gru, x, lengths, torch.bfloat16, backend), expected, 0.1)


@on_gpu
@both_forms
def test_the_gpu_chooses_its_backend_by_itself(reset: str) -> None:
    x = torch.zeros(1, 1, 1, device="cuda")
    chosen = choose_backend(x, reset == "after", torch.float32, torch.float32)
    assert chosen == ("cudnn" if reset == "after" else "triton")
    gru, lengths = GRU(30, 300, reset=reset), torch.tensor([9, 4])
    x = torch.randn(2, 9, 30)
    by_name = on_device(gru, x, lengths, torch.float32, chosen)
    assert_near(on_device(gru, x, lengths, torch.float32, None), by_name, 1e-6)
