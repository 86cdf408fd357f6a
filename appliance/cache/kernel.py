"""Compiled functions: machine code that runs without Python's lock.

Only the functions that Python calls are kept on disk (`entry`); those they call are compiled into them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
"""Kernels take 64-bit numbers only: each type more would be compiled anew."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """A step of other kernels."""
    return cast("F", njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


def inlined(function: F) -> F:
    """A step so small that it is put in the place of its call: quicker to compile than to call."""
    return cast("F", njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, inline="always")(function))


def entry(function: F) -> F:
    """A kernel called from Python; compiled at its first call on a machine, read from disk afterwards."""
    return cast("F", njit(nogil=True, cache=True)(function))
