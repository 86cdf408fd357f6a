"""All that keeps the blocks of one pool in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from vllm.v1.core.kv_cache_utils import KVCacheBlock

from appliance.cache.errors import IntegrityError
from appliance.engine.retention.arrays import numbers
from appliance.engine.retention.block_kernels import EMPTY, FILLED
from appliance.engine.retention.blocks import BlockTable, Clock, monotonic_ms
from appliance.engine.retention.event_hashes import EventHashes
from appliance.engine.retention.leads import Leads
from appliance.engine.retention.queue import RetentionQueue
from appliance.engine.retention.reports import EvictionReports
from appliance.engine.retention.requests import Requests
from appliance.engine.retention.rules import RuleNumbers
from appliance.engine.retention.waiting import Waiting
from appliance.engine.retention.worth import Worth

NUM_SESSIONS: Final = 2048


class Retention:
    """One of each: the table of blocks, the queue that vLLM takes them from, and those who say what they are worth."""

    def __init__(
        self, blocks: Sequence[KVCacheBlock], num_sessions: int = NUM_SESSIONS, clock: Clock = monotonic_ms
    ) -> None:
        self.table = BlockTable(len(blocks), num_sessions, clock)
        self.rules = RuleNumbers()
        self.requests = Requests(self.table, self.rules, num_sessions)
        self.reports = EvictionReports(self.requests.sessions, self.rules)
        self.waiting = Waiting(self.table.core)
        self.leads = Leads(self.table, self.waiting, self.requests)
        self.event_hashes = EventHashes(blocks, self.table.serials)
        self.queue = RetentionQueue(blocks, self.table, self.requests.tagger.settle, self.reports.add)
        self._blocks = blocks

    def drop(self, block_id: int) -> None:
        """The block can be found no longer."""
        self.requests.tagger.drop(numbers([block_id]))

    def drop_all(self) -> None:
        self.requests.tagger.drop(np.arange(len(self._blocks)))

    def apply(self, worths: Mapping[str, Worth]) -> None:
        """A change of policy: all claims of its rules, by name, are worth this now. Blocks move; none is dropped."""
        self.requests.tagger.settle_all()
        self.table.reprioritise(*self.rules.table(worths))

    def stats(self) -> dict[str, Any]:
        core = self.table.core
        by_priority = core.candidates_by_priority()
        return {
            "blocks": len(self.table),
            "free": core.num_free,
            "awaited": core.num_awaited,
            "claimed": core.num_claimed,
            "by_priority": {int(priority): int(by_priority[priority]) for priority in np.flatnonzero(by_priority)},
            "order": core.order.value,
            "sessions": len(self.requests.sessions),
            "sessions_forgotten": self.requests.sessions.num_forgotten,
            "sessions_refused": self.requests.sessions.num_refused,
            "requests": len(self.requests),
            "requests_waiting": len(self.waiting),
            "waits_refused": self.waiting.num_refused,
            "leads_spared": len(self.leads),
            "held_back": self.leads.num_held_back,
            "held_back_in_vain": self.leads.num_gave_up,
            "bad_plans": self.requests.num_bad_plans,
            "late_fills": self.table.num_late_fills,
            "reports": len(self.reports),
            "reports_dropped": self.reports.num_dropped,
            **asdict(core.stats),
        }

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Slow: looks at every block."""
        self.table.check_integrity()
        self.queue.check_integrity()
        self.requests.check_integrity()
        states = self.table.states
        for block in self._blocks:
            if block.ref_cnt == 0 and block.block_hash is not None and states[block.block_id] != FILLED:
                raise IntegrityError(f"block {block.block_id} can be found, and the core knows nothing of it")
            if block.block_hash is None and states[block.block_id] != EMPTY and block.ref_cnt:
                raise IntegrityError(f"block {block.block_id} can be found by nobody, and the core has content for it")
