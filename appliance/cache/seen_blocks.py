"""Which blocks were asked for before, and by which prompt last: more than is cached anywhere, in bounded memory."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.kernel import entry, kernel

Hashes = NDArray[np.uint64]
Stamps = NDArray[np.int64]

EPOCH: Final = 1 << 40
"""Numbers of prompts are below it."""
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
            self._young, self._old = self._old, self._young
            self._young.clear()
        self._young.add(hashes, number)

    def depth(self, hashes: Hashes) -> Seen:
        young, old = self._young.depth(hashes), self._old.depth(hashes)
        return max(young, old, key=lambda seen: seen.blocks)

    def warm_up(self) -> None:
        """Before anything was added: compile what adds and looks up, and have all memory there. Else a prompt of
        200,000 tokens takes 4 ms now and then."""
        for generation in (self._young, self._old):
            generation.touch()
        self.add(np.arange(1, 3, dtype=np.uint64), 1)
        self.depth(np.arange(1, 3, dtype=np.uint64))
        self._young.clear()

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        for generation in (self._young, self._old):
            generation.check_integrity()


class _Generation:
    """A slot whose stamp is of an earlier epoch is empty: it takes no time to clear all."""

    def __init__(self, most: int) -> None:
        room = 1 << (2 * most - 1).bit_length()
        self.size = 0
        self._epoch = EPOCH
        self._keys = np.zeros(room, np.uint64)
        self._stamps = np.zeros(room, np.int64)

    def clear(self) -> None:
        self.size = 0
        self._epoch += EPOCH

    def touch(self) -> None:
        self._keys.fill(0)
        self._stamps.fill(0)

    def add(self, hashes: Hashes, number: int) -> None:
        self.size += int(_add(self._keys, self._stamps, hashes, self._epoch, number))

    def depth(self, hashes: Hashes) -> Seen:
        """Looks up as many as the logarithm of their number."""
        blocks = int(_depth(self._keys, self._stamps, hashes, self._epoch))
        if not blocks:
            return Seen(0, None)
        return Seen(blocks, int(_number(self._keys, self._stamps, hashes[blocks - 1], self._epoch)))

    def check_integrity(self) -> None:
        found = int(np.count_nonzero(self._stamps >= self._epoch))
        if found != self.size or 2 * found > self._keys.size:
            raise IntegrityError(f"{found} blocks seen, {self.size} counted, room for {self._keys.size // 2}")


@kernel
def _slot(keys: Hashes, stamps: Stamps, key: np.uint64, epoch: int) -> int:
    """Where the key is, or belongs."""
    mask = len(keys) - 1
    slot = int(key >> np.uint64(17)) & mask
    while stamps[slot] >= epoch and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@entry
def _add(keys: Hashes, stamps: Stamps, hashes: Hashes, epoch: int, number: int) -> int:
    """How many were new."""
    num_new = 0
    for key in hashes:
        slot = _slot(keys, stamps, key, epoch)
        if stamps[slot] < epoch:
            keys[slot] = key
            num_new += 1
        stamps[slot] = epoch + number
    return num_new


@entry
def _number(keys: Hashes, stamps: Stamps, key: np.uint64, epoch: int) -> int:
    return int(stamps[_slot(keys, stamps, key, epoch)] - epoch)


@entry
def _depth(keys: Hashes, stamps: Stamps, hashes: Hashes, epoch: int) -> int:
    """How many leading hashes are there."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high + 1) // 2
        if stamps[_slot(keys, stamps, hashes[middle - 1], epoch)] < epoch:
            high = middle - 1
        else:
            low = middle
    return low
