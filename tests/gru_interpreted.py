"""The Triton kernels in Triton's interpreter, on the CPU; test_gru_cuda.py runs this file.

The interpreter is chosen before Triton is imported, so these tests have a process of their own,
with TRITON_INTERPRET=1. Its products know no bfloat16; float16 stands for both.
"""

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from asr.gru import GRU, fused, kernels
from asr.gru.backend import force_backend


@pytest.fixture(autouse=True)
def numbers_as_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter holds numbers as arrays of one; NumPy 2.4 takes them for no index."""
    torch.manual_seed(0)
    original = interpreter._patch_lang_tensor

    def patched(tensor: Any, *rest: Any) -> None:
        original(tensor, *rest)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hidden units be as many as a program cannot have alone."""
    monkeypatch.setattr(fused, "ALONE_UNITS", 0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Run all programs of a grid in turns, each until it waits; gives the meetings counted."""
    turn, arrived, own = threading.Condition(), Counter[tuple[int, int]](), threading.local()
    builder, waits = interpreter.interpreter_builder, [0]

    def meet(counter: Any, target: Any) -> None:
        group = own.index[:2]
        arrived[group] += 1
        turn.notify_all()
        waits[0] += 1
        while arrived[group] < int(target):
            assert turn.wait(20), "a program waits for one that has ended"
        builder.set_grid_idx(*own.index)

    def together(fn: Callable[..., None]) -> Callable[..., None]:
        programs: list[threading.Thread] = []

        def program(index: tuple[int, ...], args: dict[str, Any]) -> None:
            with turn:
                own.index = index
                builder.set_grid_idx(*index)
                fn(**args)

        def run(**args: Any) -> None:
            index, last = builder.grid_idx, tuple(n - 1 for n in builder.grid_dim)
            programs.append(threading.Thread(target=program, args=(index, args)))
            if index == last:
                arrived.clear()
                for thread in programs:
                    thread.start()
                for thread in programs:
                    thread.join()

        run.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]  # read by Triton
        run.__annotations__ = fn.__annotations__
        return run

    class Together(interpreter.GridExecutor):  # type: ignore[misc]  # untyped
        def __init__(self, fn: Callable[..., None], *rest: Any) -> None:
            super().__init__(together(fn), *rest)

    monkeypatch.setattr(interpreter, "GridExecutor", Together)
    monkeypatch.setattr(kernels, "_meet", meet)
    monkeypatch.setattr(fused, "processors_of", lambda device: 8)
    yield waits


def results(gru: GRU, x: Tensor, lengths: Tensor | None, state: Tensor | None) -> list[Tensor]:
    """Output, final states and the gradients of everything."""
    output, final = gru(x, lengths, state)
    torch.manual_seed(1)
    loss = (output * torch.randn_like(output)).sum() + (final * torch.randn_like(final)).sum()
    leaves = [x, *gru.parameters()] + ([] if state is None else [state])
    return [output, final, *torch.autograd.grad(loss, leaves)]


def compare(
    gru: GRU, batch: int, lengths: list[int] | None, backend: str, half: bool = False
) -> None:
    """The kernels against the PyTorch path."""
    x = torch.randn(batch, 3, gru.input_size, requires_grad=True)
    state = torch.randn(gru.num_layers * gru.directions, batch, gru.hidden_size, requires_grad=True)
    sizes = None if lengths is None else torch.tensor(lengths)
    with torch.autocast("cpu", torch.float16, enabled=half):
        with force_backend("torch"):
            expected = results(gru, x, sizes, None if lengths is None else state)
        with force_backend(backend):
            found = results(gru, x, sizes, None if lengths is None else state)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        limit = (5e-3 if half else 2e-6) * max(1.0, b.abs().max().item())
        torch.testing.assert_close(a, b, rtol=0, atol=limit)


def make(hidden: int, **options: Any) -> GRU:
    return GRU(5, hidden, reset="before", bidirectional=True, **options)


@pytest.mark.parametrize("half", [False, True])
def test_one_program_with_all_units_walks_alone(half: bool) -> None:
    compare(make(20), 3, [3, 2, 0], "triton", half)


def test_more_sequences_and_units_than_one_block() -> None:
    compare(make(70), 18, None, "triton")


@pytest.mark.parametrize("half", [False, True])
def test_wide_layers_take_a_launch_for_each_phase(wide: None, half: bool) -> None:
    compare(make(20), 18, [3] * 9 + [1] * 9, "triton", half)


def test_a_stack_of_layers_without_biases(wide: None) -> None:
    compare(GRU(5, 20, 2, reset="before", bias=False), 2, [3, 2], "triton")


def test_programs_that_wait_for_each_other(wide: None, at_once: list[int]) -> None:
    compare(make(40), 3, [3, 1, 2], "triton-walk")
    # Two directions of three blocks: twice in each of 3 steps, and in each of 4 backward.
    assert at_once == [6 * 2 * (3 + 4)]


def test_programs_with_several_blocks_each(
    wide: None, at_once: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "processors_of", lambda device: 4)
    compare(make(130), 2, [3, 1], "triton-walk")
    assert at_once == [4 * 2 * (3 + 4)]


def test_inference_keeps_no_gates() -> None:
    gru, x = make(20), torch.randn(2, 4, 5)
    with torch.inference_mode():
        expected = gru(x)[0]
        with force_backend("triton"):
            torch.testing.assert_close(gru(x)[0], expected, rtol=0, atol=2e-6)


def test_a_second_gradient_is_refused() -> None:
    x = torch.randn(1, 2, 5, requires_grad=True)
    with force_backend("triton"), pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(make(20)(x)[0].sum(), x, create_graph=True)


def test_the_interpreter_is_at_work() -> None:
    assert tl.constexpr(1).value == 1
    assert isinstance(kernels.forward_kernel, interpreter.InterpretedFunction)
