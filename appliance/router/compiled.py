"""How this package compiles its loops over flat arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile `function` on its first call, or load it from the cache beside its file. It runs without the GIL.

    A kernel may call kernels of its own file only: in numba's cache it would outlive a change of another file.
    """
    return cast("Callable[Arguments, Result]", njit(cache=True, nogil=True)(function))


def brief_kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """As `kernel`, but it keeps the GIL: it is over before another thread could have done anything with it."""
    return cast("Callable[Arguments, Result]", njit(cache=True)(function))
