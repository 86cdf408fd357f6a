"""Which worker holds which blocks, and how much of a prompt each could reuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Protocol

from appliance.router.errors import IntegrityError


class Index(Protocol):
    """Sets of block hashes, one per worker.

    A worker is any non-negative integer; it needs no registration. Hashes are those of `hashing.hash_blocks`,
    so a hash stands for a block with its whole prefix and the index need not know parents.
    """

    @property
    def unknown_removals(self) -> int:
        """How many hashes were removed from a worker that did not hold them, since the index was made."""
        ...

    def store(self, worker: int, hashes: Iterable[int]) -> None:
        """`worker` holds these blocks from now on. Idempotent: a hash held already stays held once."""
        ...

    def remove(self, worker: int, hashes: Iterable[int]) -> None:
        """`worker` holds these blocks no more. A hash it does not hold is a no-op, counted in `unknown_removals`.

        Children of a removed block stay held. They match again once the block is stored again.
        """
        ...

    def clear(self, worker: int) -> None:
        """`worker` holds nothing. A no-op for an unknown worker; counts no unknown removals."""
        ...

    def match(self, hashes: Sequence[int]) -> Mapping[int, int]:
        """For each worker that holds `hashes[0]`: how many leading blocks it holds without a gap (≥ 1).

        Does not mutate. A block behind a missing one does not count, held or not: the engine cannot reach it.
        """
        ...

    def num_blocks(self, worker: int) -> int:
        """How many blocks `worker` holds; 0 for an unknown worker."""
        ...

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when the index contradicts itself. Does not mutate."""
        ...


class PrefixIndex:
    """An `Index` of plain sets. `match` costs workers × matched blocks set look-ups."""

    def __init__(self) -> None:
        self.unknown_removals = 0
        self._held: dict[int, set[int]] = {}

    def store(self, worker: int, hashes: Iterable[int]) -> None:
        held = self._held.setdefault(worker, set())
        held.update(hashes)
        if not held:
            del self._held[worker]

    def remove(self, worker: int, hashes: Iterable[int]) -> None:
        held = self._held.get(worker, set())
        for block_hash in hashes:
            if block_hash in held:
                held.remove(block_hash)
            else:
                self.unknown_removals += 1
        if not held:
            self._held.pop(worker, None)

    def clear(self, worker: int) -> None:
        self._held.pop(worker, None)

    def match(self, hashes: Sequence[int]) -> Mapping[int, int]:
        if not hashes:
            return {}
        return {
            worker: sum(1 for _ in takewhile(held.__contains__, hashes))
            for worker, held in self._held.items()
            if hashes[0] in held
        }

    def num_blocks(self, worker: int) -> int:
        return len(self._held.get(worker, ()))

    def check_integrity(self) -> None:
        for worker, held in self._held.items():
            if not held:
                raise IntegrityError(f"prefix index: worker {worker} is listed but holds no block")
        if self.unknown_removals < 0:
            raise IntegrityError(f"prefix index: unknown_removals is {self.unknown_removals}")
