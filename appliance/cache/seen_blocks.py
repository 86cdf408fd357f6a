"""Which blocks were asked for before, and by which prompt last: more than is cached anywhere, in bounded memory."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.kernel import entry, kernel

Hashes = NDArray[np.uint64]

NOT_SEEN: Final = 0
DEFAULT_BLOCKS: Final = 1 << 19


class Seen(NamedTuple):
    """The leading `blocks` of a prompt were seen; `number` is that of the last prompt which had them all."""

    blocks: int
    number: int | None


class SeenBlocks:
    """Hashes that stand for a block with its whole prefix, in two generations: when the young one has `most` the old
    one is forgotten. So the newest `most` are known, and never more than twice as many; 32 to 64 bytes each.

    A prompt's blocks are added together, so of each generation a block is known only with all that is ahead of it.
    """

    def __init__(self, most: int = DEFAULT_BLOCKS) -> None:
        self.forgotten = 0
        self._most = most
        self._young, self._old = _Generation(most), _Generation(most)

    def __len__(self) -> int:
        return self._young.size + self._old.size

    def add(self, hashes: Hashes, number: int) -> None:
        """All full blocks of prompt `number` (from 1); of one with more than `most` the first."""
        hashes = hashes[: self._most]
        if self._young.size + hashes.size > self._most:
            self.forgotten += self._old.size
            self._young, self._old = _Generation(self._most), self._young
        self._young.add(hashes, number)

    def depth(self, hashes: Hashes) -> Seen:
        young, old = self._young.depth(hashes), self._old.depth(hashes)
        return max(young, old, key=lambda seen: seen.blocks)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        for generation in (self._young, self._old):
            generation.check_integrity()


class _Generation:
    def __init__(self, most: int) -> None:
        room = 1 << (2 * most - 1).bit_length()
        self.size = 0
        self._keys = np.zeros(room, np.uint64)
        self._numbers = np.zeros(room, np.int64)

    def add(self, hashes: Hashes, number: int) -> None:
        self.size += int(_add(self._keys, self._numbers, hashes, number))

    def depth(self, hashes: Hashes) -> Seen:
        """Looks up as many as the logarithm of their number."""
        blocks = int(_depth(self._keys, self._numbers, hashes))
        if not blocks:
            return Seen(0, None)
        return Seen(blocks, int(_number(self._keys, self._numbers, hashes[blocks - 1])))

    def check_integrity(self) -> None:
        found = int(np.count_nonzero(self._numbers != NOT_SEEN))
        if found != self.size or 2 * found > self._keys.size:
            raise IntegrityError(f"{found} blocks seen, {self.size} counted, room for {self._keys.size // 2}")


@kernel
def _slot(keys: Hashes, numbers: NDArray[np.int64], key: np.uint64) -> int:
    """Where the key is, or belongs."""
    mask = len(keys) - 1
    slot = int(key >> np.uint64(17)) & mask
    while numbers[slot] != NOT_SEEN and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@entry
def _add(keys: Hashes, numbers: NDArray[np.int64], hashes: Hashes, number: int) -> int:
    """How many were new."""
    num_new = 0
    for key in hashes:
        slot = _slot(keys, numbers, key)
        if numbers[slot] == NOT_SEEN:
            keys[slot] = key
            num_new += 1
        numbers[slot] = number
    return num_new


@entry
def _number(keys: Hashes, numbers: NDArray[np.int64], key: np.uint64) -> int:
    return int(numbers[_slot(keys, numbers, key)])


@entry
def _depth(keys: Hashes, numbers: NDArray[np.int64], hashes: Hashes) -> int:
    """How many leading hashes are there."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high + 1) // 2
        if numbers[_slot(keys, numbers, hashes[middle - 1])] == NOT_SEEN:
            high = middle - 1
        else:
            low = middle
    return low
