"""What computes a layer of the GRU: cuDNN, Triton kernels, NumPy or plain PyTorch."""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

BACKENDS = ("torch", "numpy", "cudnn", "triton", "triton-walk")
"""
- "torch": ``asr.gru.recurrence``, on every device, in every type; the oracle of the others.
- "numpy": ``asr.gru.single``, on the CPU for one sequence in float32 without a gradient.
- "cudnn": ``asr.gru.cudnn``, only with the reset gate after the product.
- "triton": ``asr.gru.fused``, only with it before the product.
- "triton-walk": the same, wide layers too walking all their steps in one launch, in which the
  programs wait for each other.
"""

# cuDNN's recurrent networks take bfloat16 from this version on.
CUDNN_WITH_BFLOAT16 = 91300

_forced: ContextVar[str | None] = ContextVar("asr_gru_backend", default=None)


@contextmanager
def force_backend(name: str) -> Iterator[None]:
    """Let every layer run inside the ``with`` block use one backend, for tests and comparisons.

    Args:
        name: one of ``BACKENDS``. A layer that it cannot compute still runs by "torch".

    Raises:
        ValueError: there is no backend of that name.
    """
    if name not in BACKENDS:
        raise ValueError(f'backend is {name!r}; expected one of {BACKENDS}: use "torch".')
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def has_triton() -> bool:
    """Whether Triton is installed, which PyTorch brings along on Linux with CUDA."""
    return importlib.util.find_spec("triton") is not None


@cache
def can_compile() -> bool:
    """Whether Triton finds what it builds its launchers with: a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


def choose_backend(x: Tensor, after: bool, dtype: torch.dtype, product_dtype: torch.dtype) -> str:
    """Choose what computes a layer.

    Args:
        x: its input (T, B, F).
        after: whether the reset gate acts after the recurrent product.
        dtype: type of the parameters.
        product_dtype: type that the matrix products are computed in.

    Returns:
        One of ``BACKENDS``: on CUDA "cudnn" or "triton", as the form of the GRU asks for; on the
        CPU "numpy" for one sequence without a gradient; "torch" elsewhere, in float64, in traced
        graphs, for no frames and where the other one is missing or, as Triton without a C
        compiler, cannot work.
    """
    if torch.compiler.is_compiling() or torch.float64 in (dtype, product_dtype) or not x.numel():
        return "torch"
    forced = _forced.get()
    if forced in (None, "numpy") and _numpy_takes(x, dtype, product_dtype):
        return "numpy"
    if after:
        fits = _cudnn_takes(x.device, product_dtype) if forced is None else forced == "cudnn"
        return "cudnn" if fits else "torch"
    if forced is None:
        return "triton" if has_triton() and _triton_takes(x.device) else "torch"
    return forced if forced.startswith("triton") and has_triton() else "torch"


def _numpy_takes(x: Tensor, dtype: torch.dtype, product_dtype: torch.dtype) -> bool:
    return (
        x.device.type == "cpu"
        and x.shape[1] == 1
        and x.dtype == dtype == product_dtype == torch.float32
        and not torch.is_grad_enabled()
    )


def _cudnn_takes(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cuda" or torch.version.hip is not None or not torch.backends.cudnn.enabled:
        return False
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch
    return version is not None and (dtype != torch.bfloat16 or version >= CUDNN_WITH_BFLOAT16)


def _triton_takes(device: torch.device) -> bool:
    if device.type != "cuda" or torch.version.hip is not None or not can_compile():
        return False
    # The oldest processors with products of bfloat16.
    return torch.cuda.get_device_capability(device) >= (8, 0)
