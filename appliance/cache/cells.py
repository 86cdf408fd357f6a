"""A pool of blocks in a few cells, each so many blocks with neighbouring numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Every engine process imports this: no numba here (see `engine/retention/block_map.py`).


class Cells:
    """`num_blocks` in at most `cells` of `per_cell` blocks each, the last for what is left."""

    def __init__(self, num_blocks: int, cells: int) -> None:
        self.per_cell = max(-(-num_blocks // cells), 1)
        self._starts = np.arange(0, num_blocks, self.per_cell)

    def counted(self, is_so: NDArray[np.bool_]) -> NDArray[np.int32]:
        """By cell, how many of its blocks are so."""
        return np.add.reduceat(is_so, self._starts, dtype=np.int32)

    def last_used(self, filled: NDArray[np.bool_], uses: NDArray[Any]) -> NDArray[np.int64]:
        """Of each cell the filled block with the largest use number, the first of several; any where none is filled."""
        uses = np.where(filled, uses, -1)
        whole = len(uses) // self.per_cell
        found = self._starts.astype(np.int64)
        found[:whole] += uses[: whole * self.per_cell].reshape(whole, self.per_cell).argmax(axis=1)
        if whole < len(found):
            found[-1] += uses[found[-1] :].argmax()
        return found
