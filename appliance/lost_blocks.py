"""What became of blocks that are not in the engines' caches any more, as the engines have told."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.explain import Loss
from appliance.cache.ledger import Blame, Emptied
from appliance.eviction_log import Evicted

MOST_BLOCKS: Final = 1 << 16
"""Some 20 MB."""

OwnHash = Callable[[int, int], int | None]
"""What the router calls a block of a worker that is gone, by what the engine called it."""
Duration = Callable[[Evicted], float | None]
"""For how many seconds after its last use a block was claimed; `None`: without end, not at all, or nobody knows."""


_ENGINE_NAME: Final = re.compile(r"(?:\d+_)?(.+?)(?:\.\d+)?-[0-9a-f]{8}")
"""The number of a choice, the name, the number of an attempt, and what the engine adds to tell requests apart."""


class LostBlocks:
    """The newest evictions by the router's hash of a block; `forgotten` counts older ones, `unknown` those of blocks
    that the router has no name for."""

    def __init__(self, own_hash: OwnHash, duration: Duration, most: int = MOST_BLOCKS) -> None:
        self.forgotten = 0
        self.unknown = 0
        self._own_hash = own_hash
        self._duration = duration
        self._most = most
        self._losses: OrderedDict[int, Loss] = OrderedDict()
        self._emptied: dict[int, Blame] = {}

    def __len__(self) -> int:
        return len(self._losses)

    def add(self, evictions: Iterable[Evicted]) -> None:
        for evicted in evictions:
            engine_hash = evicted.eviction.block_hash
            own = self._own_hash(evicted.worker, engine_hash) if isinstance(engine_hash, int) else None
            if own is None:
                self.unknown += 1
                continue
            self._losses[own] = self._loss(evicted)
            self._losses.move_to_end(own)
            if len(self._losses) > self._most:
                self._losses.popitem(last=False)
                self.forgotten += 1

    def emptied(self, worker: int, why: Emptied, at: float) -> None:
        """All that a worker's engine had is gone, since a time in seconds since 1970."""
        self._emptied[worker] = Blame(None, None, why, 0, at, 0.0)

    def emptied_since(self, worker: int, at: float) -> Blame | None:
        """What took all of it after that time. From any thread."""
        blame = self._emptied.get(worker)
        return blame if blame is not None and blame.at >= at else None

    def get(self, own_hash: int) -> Loss | None:
        """From any thread."""
        return self._losses.get(own_hash)

    def _loss(self, evicted: Evicted) -> Loss:
        one = evicted.eviction
        duration = self._duration(evicted) if one.priority <= DEFAULT_PRIORITY else None
        blame = Blame(
            one.cause, answer_of(one.cause_request), one.rule, one.priority, evicted.at_seconds, one.age_seconds
        )
        return Loss(blame, evicted.worker, one.owner, duration is not None and one.age_seconds >= duration)


def answer_of(engine_request: str | None) -> str | None:
    """The id of an answer, from what the engine calls its request."""
    found = None if engine_request is None else _ENGINE_NAME.fullmatch(engine_request)
    return engine_request if found is None else found[1]
