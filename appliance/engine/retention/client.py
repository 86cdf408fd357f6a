"""The box's side of `calls.py`: what an engine can be asked about the blocks it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm.v1.kv_hints import KvHintAction, KvHintsEnvelope

from appliance.cache.plan_wire import ACTION_TYPE, ACTION_VERSION
from appliance.engine.retention.block_map import BlockMap, unpacked
from appliance.engine.retention.eviction import Eviction, EvictionBatch
from appliance.engine.retention.worth import Worth

PROTOCOL_VERSION: Final = "1.0"
MOST_EVICTIONS: Final = 4096
"""Asked for at once: writing them down holds up the engine for some milliseconds."""


def retention_hints(payload: Mapping[str, Any] | None, request_id: str) -> KvHintsEnvelope | None:
    """A `kv.retain` payload in the envelope in which an engine takes it."""
    if payload is None:
        return None
    action = KvHintAction("retain", ACTION_TYPE, ACTION_VERSION, dict(payload))
    return KvHintsEnvelope(PROTOCOL_VERSION, request_id, [action])


class RetentionClient(ABC):
    """On an engine without retention the calls do nothing and tell of nothing. All raise `WorkerDied`."""

    @property
    @abstractmethod
    def _has_retention(self) -> bool: ...

    @abstractmethod
    async def _ask(self, call: str, *arguments: Any) -> Any:
        """Have the engine run one of its methods. Raises `WorkerDied`."""

    async def retention_stats(self) -> dict[str, Any] | None:
        """Counts since the engine's start, and what is free, claimed and awaited now; `None` without retention."""
        stats: dict[str, Any] | None = await self._ask("box_retention_stats") if self._has_retention else None
        return stats

    async def evictions(self, most: int = MOST_EVICTIONS) -> EvictionBatch:
        """What was evicted and not told yet, the oldest first, about `most` of it."""
        if not self._has_retention:
            return EvictionBatch((), 0, 0)
        rows, num_left, num_dropped = await self._ask("box_evictions", most)
        return EvictionBatch(tuple(Eviction(*row) for row in rows), num_left, num_dropped)

    async def replan(self, session: str, payload: Mapping[str, Any]) -> int:
        """The session's claims on the blocks of its last prompt become those of this `kv.retain` payload, and those of
        blocks that its running request goes on to fill. On how many blocks; 0 for a session that is not known."""
        count: int = await self._ask("box_replan", session, dict(payload)) if self._has_retention else 0
        return count

    async def replan_all(self, payloads: Mapping[str, Mapping[str, Any]]) -> int:
        """As `replan` for several sessions, by name, in one call. It holds up the engine: some dozens at most."""
        count: int = await self._ask("box_replan_all", dict(payloads)) if self._has_retention else 0
        return count

    async def finish(self, session: str, priority: int = 0) -> bool:
        """All the session's claims become this, at most the default. False for a session that is not known."""
        found: bool = await self._ask("box_finish", session, priority) if self._has_retention else False
        return found

    async def apply_policy(self, worths: Mapping[str, Worth]) -> None:
        """By rule (its file and line): what every claim of it is worth now; of rules that are not named, the default.
        Claims of marks, pins and directives, and those that a hint has moved, stay."""
        if self._has_retention:
            await self._ask("box_apply_policy", {rule: list(worth) for rule, worth in worths.items()})

    async def set_keeps(self, keeps: Mapping[str, float], unnamed: float = 0.0) -> None:
        """The forecast: inside a priority the blocks of the session with the lowest go first, and no longer those used
        longest ago. `unnamed` is for blocks of no session; a session that is not named keeps what it has."""
        if self._has_retention:
            await self._ask("box_set_keeps", dict(keeps), unnamed)

    async def clear_keeps(self) -> None:
        """No forecast: the order is by last use again."""
        if self._has_retention:
            await self._ask("box_clear_keeps")

    async def session_blocks(self) -> dict[str, int]:
        """By session, how many blocks it was the last to use, if any."""
        blocks: dict[str, int] = await self._ask("box_sessions") if self._has_retention else {}
        return blocks

    async def block_map(self, cells: int) -> BlockMap | None:
        """The pool in at most so many cells; `None` without retention. Looks at all blocks between two steps."""
        return unpacked(await self._ask("box_block_map", cells)) if self._has_retention else None

    async def check_integrity(self) -> str | None:
        """What contradicts itself in the engine's books; `None`: nothing. The engine does nothing else meanwhile."""
        error: str | None = await self._ask("box_check_integrity") if self._has_retention else None
        return error

    async def wait_for(self, name: str, block_hashes: Sequence[int | bytes]) -> int:
        """A request that is not in the engine yet wants these blocks, called as in KV events: they go last of all until
        `stop_waiting` with the same name. How many of them there are."""
        count: int = await self._ask("box_wait", name, list(block_hashes)) if self._has_retention else 0
        return count

    async def stop_waiting(self, name: str) -> None:
        if self._has_retention:
            await self._ask("box_unwait", name)
