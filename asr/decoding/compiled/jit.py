"""Turns functions over arrays into machine code and keeps it on disk for the next process."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import FunctionCache

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
# To numba these are its types of 64 bits, to a type checker plain numbers.
integer: Callable[[Any], int] = cast(Any, np.int64)
real: Callable[[Any], float] = cast(Any, np.float64)


def compiled(function: FunctionT) -> FunctionT:
    """Compile a function when it is first called, or load what an earlier process compiled.

    It makes no arrays.

    Args:
        function: over numbers, arrays and named tuples of them.
    """
    return cast(FunctionT, _kept(function, _njit(function, **_OPTIONS, **_NO_COUNTS)))


def compiled_maker(function: FunctionT) -> FunctionT:
    """Compile a function that may make arrays.

    Args:
        function: as for ``compiled``.
    """
    return cast(FunctionT, _kept(function, _njit(function, **_OPTIONS)))


def inner(function: FunctionT) -> FunctionT:
    """Compile a function that only compiled ones call; it needs no way in from Python.

    Args:
        function: as for ``compiled``.
    """
    made = _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS, **_NO_COUNTS)
    return cast(FunctionT, made)


# Its types know less than it takes.
_njit: Any = numba.njit
_OPTIONS = {"error_model": "numpy"}
# Without counting references to arrays, which the callers hold anyway: to count those of all the
# tables in every call takes six times as long as to score a token.
_NO_COUNTS = {"_nrt": False}


class _FolderCache(FunctionCache):
    """Numba's cache on disk, made anew when any file of this folder changes.

    Numba itself looks at the file of the function alone, and not at those of what it calls.
    """

    def _index_key(self, *args: Any) -> tuple[Any, ...]:
        key: tuple[Any, ...] = super()._index_key(*args)  # type: ignore[no-untyped-call]  # numba
        return (*key, _folder_digest())


def _kept(function: Callable[..., Any], made: Any) -> Any:
    # Where neither the package's folder nor the user's can be written, each process compiles.
    try:
        made._cache = _FolderCache(function)  # type: ignore[no-untyped-call]  # numba
    except RuntimeError:
        return made
    return made


@cache
def _folder_digest() -> str:
    digest = hashlib.sha256()
    files = [*Path(__file__).parent.glob("*.py"), Path(__file__).parents[1] / "tables.py"]
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()
