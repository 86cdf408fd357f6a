"""What was evicted, kept until somebody asks."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from vllm.v1.core.kv_cache_utils import BlockHashWithGroupId, get_block_hash, maybe_convert_block_hash
from vllm.v1.request import Request

from appliance.cache.eviction_facts import Victims
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.eviction import Eviction
from appliance.engine.retention.rules import RuleNumbers
from appliance.engine.retention.sessions import SessionSlots

_SESSIONS: Final = Victims._fields.index("sessions")

MOST_KEPT: Final = 1 << 16
"""Evictions kept. Beyond, the oldest are lost and counted."""


class _Batch(NamedTuple):
    """`victims` is as the table gives them; `owners` are its sessions' names: slots change hands."""

    victims: Numbers
    hashes: list[BlockHashWithGroupId | None]
    owners: dict[int, str | None]
    cause: str | None
    cause_request: str | None


class EvictionReports:
    """Evictions in the batches in which they came; they are written out only when they are asked for."""

    def __init__(self, sessions: SessionSlots, rules: RuleNumbers, most_kept: int = MOST_KEPT) -> None:
        self.cause: Request | None = None
        """The request that blocks are being taken for."""
        self.num_dropped = 0
        self._sessions = sessions
        self._rules = rules
        self._most_kept = most_kept
        self._batches: deque[_Batch] = deque()
        self._num_kept = 0

    def __len__(self) -> int:
        return self._num_kept

    def add(self, victims: Numbers, hashes: list[BlockHashWithGroupId | None]) -> None:
        """Blocks without content among the victims are no evictions."""
        cause = self.cause
        owners = {slot: self._sessions.name(slot) for slot in set(victims[_SESSIONS].tolist())}
        if cause is None:
            batch = _Batch(victims, hashes, owners, None, None)
        else:
            batch = _Batch(victims, hashes, owners, cause.session_id, cause.request_id)
        self._batches.append(batch)
        self._num_kept += len(hashes)
        while self._num_kept > self._most_kept and len(self._batches) > 1:
            lost = len(self._batches.popleft().hashes)
            self._num_kept -= lost
            self.num_dropped += lost

    def drain(self, most: int) -> list[Eviction]:
        """The oldest, in whole batches, until there are at least `most`; they are forgotten here."""
        drained: list[Eviction] = []
        while self._batches and len(drained) < most:
            batch = self._batches.popleft()
            self._num_kept -= len(batch.hashes)
            drained += self._written_out(batch)
        return drained

    def _written_out(self, batch: _Batch) -> list[Eviction]:
        rows = zip(*batch.victims.tolist(), batch.hashes, strict=True)
        return [
            Eviction(
                block=block,
                block_hash=None if key is None else maybe_convert_block_hash(get_block_hash(key)),
                first_token=first_token,
                owner=batch.owners[session],
                cause=batch.cause,
                cause_request=batch.cause_request,
                priority=priority,
                rule=self._rules.name(rule),
                age_seconds=age_ms / 1000,
                awaited=bool(awaited),
            )
            for block, had_content, session, priority, rule, age_ms, awaited, first_token, key in rows
            if had_content
        ]
