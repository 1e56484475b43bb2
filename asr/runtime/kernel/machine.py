"""Machine code for this processor, made by LLVM from the text of functions and kept on disk."""

import ctypes
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from asr.files import atomic_write
from asr.runtime.kernel.layer import WALK, write_layer

# Takes the address of a table of arguments.
Walk = Callable[[int], None]
# Code must live as long as the process, and so must what holds it.
_ENGINES: list[Any] = []


@cache
def compile_walk(integers: bool, after: bool) -> Walk:
    """Make the code of a layer's direction; calls of it run beside other threads of Python.

    Args:
        integers: whether products are of integers.
        after: whether the reset gate acts after the recurrent product.
    """
    functions = write_layer(integers, after)
    declared = sorted(set().union(*(function.declared for function in functions)))
    text = "\n".join([*declared, *(function.text() for function in functions)])
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    processor, features = llvm.get_host_cpu_name(), _features()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=processor, features=features, opt=3)
    known = "\n".join([text, target.triple, processor, features, str(llvm.llvm_version_info)])
    name = f"{hashlib.sha256(known.encode()).hexdigest()}.o"
    code = _read(name)
    if code is None:
        code = _make(text, machine)
        _write(name, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    found: Walk = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(WALK))
    return found


def _make(text: str, machine: Any) -> bytes:
    module = llvm.parse_assembly(text)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def _features() -> str:
    try:
        features: str = llvm.get_host_cpu_features().flatten()
    except RuntimeError:
        # Some systems do not tell; LLVM then knows them by the processor's name.
        return ""
    return features


def _place(name: str) -> Path:
    """Give the place of kept code.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "asr", name)


def _read(name: str) -> bytes | None:
    """Read kept code; its digest stands in front, since broken code would end the process."""
    try:
        content = _place(name).read_bytes()
    except (OSError, RuntimeError):
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(name: str, code: bytes) -> None:
    try:
        with atomic_write(_place(name), "wb") as stream:
            stream.write(hashlib.sha256(code).digest() + code)
    except (OSError, RuntimeError):
        # Where nothing can be kept, each process makes its own.
        return
