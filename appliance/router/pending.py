"""The prompts of open requests, to tell how far a new one agrees with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from appliance.router.compiled import brief_kernel
from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.index import MAX_WORKERS

_START, _SIZE, _WORKER = 0, 1, 2
_FIRST_CAPACITY = 4096
_FIRST_SPANS = 64

Spans = NDArray[np.int64]


class PendingBlocks:
    """Block hashes of any number of prompts, one behind the other in an array of 8 bytes a block.

    When it is full, those of prompts gone are left out and it gets room for twice the rest.
    """

    def __init__(self) -> None:
        self._blocks = np.empty(_FIRST_CAPACITY, np.uint64)
        self._end = 0
        self._live = 0
        self._spans = np.zeros((_FIRST_SPANS, 3), np.int64)
        self._free = list(range(_FIRST_SPANS))

    def add(self, worker: int, hashes: Hashes) -> int:
        """A number to `remove` the prompt by."""
        if self._end + hashes.size > self._blocks.size:
            self._compact(hashes.size)
        if not self._free:
            self._free = list(range(len(self._spans), 2 * len(self._spans)))
            self._spans = np.concatenate([self._spans, np.zeros_like(self._spans)])
        number = self._free.pop()
        self._spans[number] = self._end, hashes.size, worker
        self._blocks[self._end : self._end + hashes.size] = hashes
        self._end += hashes.size
        self._live += hashes.size
        return number

    def remove(self, number: int) -> None:
        """`number` is one that `add` returned and that was not removed since."""
        self._live -= int(self._spans[number, _SIZE])
        self._spans[number] = 0
        self._free.append(number)

    def depths(self, hashes: Hashes) -> NDArray[np.int64]:
        """Per worker: how many leading blocks of `hashes` one of its open prompts has too."""
        depths = np.zeros(MAX_WORKERS, np.int64)
        common_depths(self._blocks, self._spans, hashes, depths)
        return depths

    def check_integrity(self, expected: Mapping[int, tuple[int, Hashes]]) -> None:
        """Raises `IntegrityError` when the prompts are not `expected`, by number with worker. Does not mutate."""
        for number, (worker, hashes) in expected.items():
            start, size, owner = self._spans[number]
            # A prompt without a full block leaves no trace.
            if (hashes.size and owner != worker) or not np.array_equal(self._blocks[start : start + size], hashes):
                raise IntegrityError(f"pending blocks: prompt {number} of worker {worker} is not what was added")
        live = sum(hashes.size for _, hashes in expected.values())
        if not live == self._live == self._spans[:, _SIZE].sum() or len(expected) + len(self._free) != len(self._spans):
            raise IntegrityError(f"pending blocks: {self._live} counted, {live} in {len(expected)} open prompts")

    def _compact(self, num_blocks: int) -> None:
        """Move all prompts to an array that they and `num_blocks` more fill by at most half."""
        blocks = np.empty(max(_FIRST_CAPACITY, 2 * (self._live + num_blocks)), np.uint64)
        self._end = 0
        for number in np.flatnonzero(self._spans[:, _SIZE]):
            start, size, _ = self._spans[number]
            blocks[self._end : self._end + size] = self._blocks[start : start + size]
            self._spans[number, _START] = self._end
            self._end += int(size)
        self._blocks = blocks


@brief_kernel
def common_depths(blocks: Hashes, spans: Spans, hashes: Hashes, depths: NDArray[np.int64]) -> None:
    """A hash names all before it too, so two prompts agree up to one block and nowhere behind it: bisection."""
    for span in range(len(spans)):
        start, size, worker = spans[span]
        low, high = depths[worker], min(size, hashes.size)
        if low >= high or blocks[start + low] != hashes[low]:
            continue
        low += 1
        while low < high:
            middle = (low + high + 1) // 2
            if blocks[start + middle - 1] == hashes[middle - 1]:
                low = middle
            else:
                high = middle - 1
        depths[worker] = low
