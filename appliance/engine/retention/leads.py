"""Sessions whose subagents run: they will be back, and their subagents do not push them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from vllm.v1.core.kv_cache_utils import KVCacheBlock

from appliance.cache.plan_wire import Lead
from appliance.engine.retention.arrays import Numbers, numbers
from appliance.engine.retention.blocks import BlockTable
from appliance.engine.retention.requests import Requests
from appliance.engine.retention.tagged import TaggedRequest
from appliance.engine.retention.waiting import Waiting


class Leads:
    """While requests of a session's subagents run or are held back, the blocks of its last prompt go last of all.

    Names of leads are as in `Lead`.
    """

    def __init__(self, table: BlockTable, waiting: Waiting, requests: Requests) -> None:
        self.num_held_back = 0
        """Requests that had to wait until others ended, each time counted."""
        self.num_gave_up = 0
        """Of these, how many were let in before there was room beside their lead."""
        self._table = table
        self._waiting = waiting
        self._requests = requests
        self._subagents: dict[str, set[str]] = {}
        """By lead, the requests of its subagents."""
        self._lead_of: dict[str, str] = {}
        self._held_since_ms: dict[str, int] = {}
        self._short: dict[str, _Shortfall] = {}

    def __len__(self) -> int:
        return len(self._subagents)

    def expect(self, request_id: str, lead: Lead) -> None:
        """A subagent's request wants its place: its lead's blocks go last until `end`. Nothing happens when that is
        known: one that is held back asks with every step."""
        if request_id in self._lead_of:
            return
        self._lead_of[request_id] = lead.scope
        self._subagents.setdefault(lead.scope, set()).add(request_id)
        self._waiting.begin(_mark(lead.scope), self._blocks_of(self._requests.last_of(lead.scope)))

    def must_wait(
        self, request_id: str, lead: Lead, *, needs_blocks: int, free_blocks: int, hits: Sequence[KVCacheBlock]
    ) -> bool:
        """Whether a subagent's request should let others end first, because it would push out its lead.

        It needs so many blocks beside its `hits`. The free ones are all that nobody holds, its lead's and its own hits
        among them. It waits no longer than `lead.patience_seconds`: what it spares is worth no more.
        """
        if not self._is_short_still(request_id, lead, len(hits)):
            prompt = self._requests.last_of(lead.scope)
            ids = numbers([block.block_id for block in hits])
            blocks = needs_blocks + self._num_idle(ids) + self._num_spared(prompt, ids) - free_blocks
            if blocks <= 0:
                self._short.pop(request_id, None)
                return False
            self._short[request_id] = _Shortfall(blocks, self._table.num_let_go, prompt, len(hits))
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
        self._short.pop(request_id, None)
        requests = self._subagents[scope]
        requests.discard(request_id)
        if not requests:
            del self._subagents[scope]
            self._waiting.end(_mark(scope))

    def _is_short_still(self, request_id: str, lead: Lead, num_hits: int) -> bool:
        """Whether blocks were missing when it asked last, and fewer have been let go since: one that is held back asks
        with every step, and its lead's blocks may be thousands.

        What is held or evicted meanwhile is missing on both sides, as long as lead and hits are the same.
        """
        short = self._short.get(request_id)
        return (
            short is not None
            and short.num_hits == num_hits
            and self._table.num_let_go - short.num_let_go < short.blocks
            and self._requests.last_of(lead.scope) is short.prompt
        )

    def _num_spared(self, prompt: TaggedRequest | None, hits: Numbers) -> int:
        """Blocks of the lead that nobody holds, without those that the request itself will."""
        return self._num_idle(np.setdiff1d(self._blocks_of(prompt), hits))

    def _num_idle(self, blocks: Numbers) -> int:
        return int(np.count_nonzero(~self._table.core.are_held(blocks)))

    def _blocks_of(self, prompt: TaggedRequest | None) -> Numbers:
        """Of the prompt and its answer, those that still hold what they held."""
        return numbers([]) if prompt is None else self._requests.tagger.resident(prompt)


class _Shortfall(NamedTuple):
    """How many blocks were missing, and when: how many had been let go, what its lead's last prompt was, and how many
    blocks of its own it found."""

    blocks: int
    num_let_go: int
    prompt: TaggedRequest | None
    num_hits: int


def _mark(scope: str) -> str:
    """The name under which a lead's blocks wait; no request's, which have no space in it."""
    return f"lead {scope}"
