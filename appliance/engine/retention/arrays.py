"""Batches of numbers, as the eviction core takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def numbers(values: Sequence[int]) -> Numbers:
    return np.array(values, np.int64)
