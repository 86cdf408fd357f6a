"""Sessions whose subagents run: they will be back, and their subagents do not push them out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from appliance.cache.plan_wire import Lead
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.blocks import BlockTable
from appliance.engine.retention.waiting import Waiting


class Leads:
    """While requests of a session's subagents run or are held back, the blocks of its last prompt go last of all.

    Names of leads are as in `Lead`; `blocks_of` gives those of a lead's last prompt that still hold what they held.
    """

    def __init__(self, table: BlockTable, waiting: Waiting, blocks_of: Callable[[str], Numbers]) -> None:
        self.num_held_back = 0
        """Requests that had to wait until others ended, each time counted."""
        self.num_gave_up = 0
        """Of these, how many were let in before there was room beside their lead."""
        self._table = table
        self._waiting = waiting
        self._blocks_of = blocks_of
        self._subagents: dict[str, set[str]] = {}
        """By lead, the requests of its subagents."""
        self._lead_of: dict[str, str] = {}
        self._held_since_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._subagents)

    def expect(self, request_id: str, lead: Lead) -> None:
        """A subagent's request wants its place: its lead's blocks go last until `end`. Nothing happens when that is
        known: one that is held back asks with every step."""
        if request_id in self._lead_of:
            return
        self._lead_of[request_id] = lead.scope
        self._subagents.setdefault(lead.scope, set()).add(request_id)
        self._waiting.begin(_mark(lead.scope), self._blocks_of(lead.scope))

    def must_wait(self, request_id: str, lead: Lead, *, needs_blocks: int, free_blocks: int, hits: Numbers) -> bool:
        """Whether a subagent's request should let others end first, because it would push out its lead.

        It needs so many blocks beside its `hits`. The free ones are all that nobody holds, its lead's and its own hits
        among them. It waits no longer than `lead.patience_seconds`: what it spares is worth no more.
        """
        idle_hits = int(np.count_nonzero(~self._table.core.are_held(hits)))
        if free_blocks - idle_hits - needs_blocks >= self._num_spared(lead, hits):
            return False
        now_ms = self._table.now_ms
        if request_id not in self._held_since_ms:
            self._held_since_ms[request_id] = now_ms
            self.num_held_back += 1
        if now_ms - self._held_since_ms[request_id] < lead.patience_seconds * 1000:
            return True
        self.num_gave_up += 1
        return False

    def end(self, request_id: str) -> None:
        """It wants no place any more, or gives it up. Nothing happens for others than subagents' requests."""
        scope = self._lead_of.pop(request_id, None)
        if scope is None:
            return
        self._held_since_ms.pop(request_id, None)
        requests = self._subagents[scope]
        requests.discard(request_id)
        if not requests:
            del self._subagents[scope]
            self._waiting.end(_mark(scope))

    def _num_spared(self, lead: Lead, hits: Numbers) -> int:
        """Blocks of the lead that nobody holds, without those that the request itself will."""
        blocks = np.setdiff1d(self._blocks_of(lead.scope), hits)
        return int(np.count_nonzero(~self._table.core.are_held(blocks)))


def _mark(scope: str) -> str:
    """The name under which a lead's blocks wait; no request's, which have no space in it."""
    return f"lead {scope}"
