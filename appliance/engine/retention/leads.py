"""Sessions whose subagents run: they will be back, and their subagents do not push them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from appliance.cache.plan_wire import Lead
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.blocks import BlockTable
from appliance.engine.retention.waiting import Waiting


@dataclass(slots=True)
class _Subagents:
    """Requests of one lead's subagents, and since when the first in turn of them has been held back."""

    requests: set[str] = field(default_factory=set)
    held_since_ms: int | None = None


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
        self._subagents: dict[str, _Subagents] = {}
        self._lead_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._subagents)

    def expect(self, request_id: str, lead: Lead) -> None:
        """A subagent's request wants its place: its lead's blocks go last until `end`."""
        self._lead_of[request_id] = lead.scope
        self._subagents.setdefault(lead.scope, _Subagents()).requests.add(request_id)
        self._waiting.begin(_mark(lead.scope), self._blocks_of(lead.scope))

    def must_wait(self, lead: Lead, *, needs_blocks: int, free_blocks: int, hits: Numbers) -> bool:
        """Whether a subagent's request should let others end first, because it would push out its lead.

        It needs so many blocks beside its `hits`. The free ones are all that nobody holds, its lead's and its own hits
        among them. It waits no longer than `lead.patience_seconds`: what it spares is worth no more.
        """
        subagents = self._subagents[lead.scope]
        idle_hits = int(np.count_nonzero(~self._table.core.are_held(hits)))
        if free_blocks - idle_hits - needs_blocks >= self._num_spared(lead, hits):
            subagents.held_since_ms = None
            return False
        now_ms = self._table.now_ms
        if subagents.held_since_ms is None:
            subagents.held_since_ms = now_ms
            self.num_held_back += 1
        if now_ms - subagents.held_since_ms < lead.patience_seconds * 1000:
            return True
        self.num_gave_up += 1
        subagents.held_since_ms = None
        return False

    def end(self, request_id: str) -> None:
        """It wants no place any more, or gives it up. Nothing happens for others than subagents' requests."""
        scope = self._lead_of.pop(request_id, None)
        if scope is None:
            return
        requests = self._subagents[scope].requests
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
