"""Requests in flight, from admission to the release of their blocks, and the sessions that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm.v1.core.kv_cache_utils import KVCacheBlock
from vllm.v1.request import Request

from appliance.cache.errors import IntegrityError, InvalidRange
from appliance.cache.layout import NO_BLOCK
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.blocks import BlockTable
from appliance.engine.retention.keeps import Keeps
from appliance.engine.retention.rules import RuleNumbers
from appliance.engine.retention.sessions import ANONYMOUS, SessionSlots
from appliance.engine.retention.tagged import Chain, TaggedRequest
from appliance.engine.retention.tagger import Tagger
from appliance.engine.retention.worths import NO_PLAN, read_plan, retain_payload, scope_of

NULL_BLOCK: Final = 0


class Requests:
    """Each has a session and a plan, if it brought them. One that was preempted begins anew."""

    def __init__(self, table: BlockTable, rules: RuleNumbers, num_sessions: int) -> None:
        self.tagger = Tagger(table)
        self.sessions = SessionSlots(num_sessions, self._forget)
        self.keeps = Keeps(table.core, self.sessions)
        self.linked_groups: frozenset[int] | None = None
        """KV-cache groups in which a block is found only behind the one before it; `None`: all."""
        self.num_bad_plans = 0
        """Requests whose plan could not be read; they claim nothing."""
        self._core = table.core
        self._rules = rules
        self._in_flight: dict[str, TaggedRequest] = {}
        self._last: dict[int, TaggedRequest] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._in_flight

    def begin(self, request: Request) -> TaggedRequest:
        """The request was admitted: what only earlier prompts of its session used goes first from now on, in forecast
        order. Nothing happens when it has begun already."""
        known = self._in_flight.get(request.request_id)
        if known is not None:
            return known
        payload = retain_payload(request.kv_hints)
        name = scope_of(payload) or request.session_id
        slot = self.sessions.begin_request(name) if name else ANONYMOUS
        tagged = TaggedRequest(request.request_id, slot, self._plan(payload))
        self._in_flight[request.request_id] = tagged
        if slot != ANONYMOUS:
            self._last[slot] = tagged
            self._core.start_prompt(slot)
            self.keeps.use(slot)
        return tagged

    def filled(
        self,
        request: Request,
        blocks: Sequence[KVCacheBlock],
        start: int,
        stop: int,
        block_tokens: int,
        group: int,
        mask: Sequence[bool] | None,
    ) -> None:
        """The request's blocks of these indices can be found from now on, but for null blocks and those masked out."""
        tagged = self._in_flight.get(request.request_id) or self.begin(request)
        chain = tagged.chains.get(group) or self._new_chain(tagged, group, block_tokens)
        parent = blocks[start - 1].block_id if start else NO_BLOCK
        if stop - start == 1 and mask is None and chain.is_linked and blocks[start].block_id != NULL_BLOCK:
            self.tagger.fill_next(tagged, chain, blocks[start].block_id, start, parent)
            return
        ids = [block.block_id for block in blocks[start:stop]]
        if not chain.is_linked or mask is not None or NULL_BLOCK in ids:
            places = [place for place in enumerate(ids, start) if place[1] != NULL_BLOCK]
            if mask is not None:
                places = [place for place in places if mask[place[0] - start]]
            self.tagger.fill_scattered(tagged, chain, places)
        else:
            self.tagger.fill_run(tagged, chain, ids, start, parent)

    def hit(self, request: Request, blocks: Sequence[KVCacheBlock], block_tokens: int, group: int) -> None:
        """The request found these blocks of its own, from the first on, in the cache; null blocks and those without a
        hash it did not."""
        tagged = self.begin(request)
        chain = tagged.chains.get(group) or self._new_chain(tagged, group, block_tokens)
        ids = [block.block_id for block in blocks]
        if not chain.is_linked or not self.tagger.hit_run(tagged, chain, ids):
            places = [(index, block.block_id) for index, block in enumerate(blocks) if block.block_hash is not None]
            self.tagger.hit(tagged, chain, places)

    def end(self, request_id: str) -> None:
        """The request gives up its blocks. Nothing happens when it has not begun."""
        tagged = self._in_flight.pop(request_id, None)
        if tagged is None:
            return
        self.tagger.settle_request(tagged)
        self.sessions.end_request(tagged.slot)

    def last_of(self, session: str) -> TaggedRequest | None:
        """The session's last request; `None` of one that is not known."""
        slot = self.sessions.find(session)
        return None if slot is None else self._last.get(slot)

    def replan(self, session: str, payload: Mapping[str, Any]) -> int:
        """The session's claims on the blocks of its last prompt become those of this plan, as do those on what it goes
        on to fill. How many blocks that are. Raises `InvalidRange`."""
        plan = read_plan(payload, self._rules.number)
        tagged = self.last_of(session)
        if tagged is None:
            return 0
        tagged.plan = plan
        return self.tagger.claim_again(tagged)

    def num_owned(self) -> dict[str, int]:
        """By session, how many blocks it was the last to use, if any."""
        owned = self._core.num_owned()
        named = ((self.sessions.name(slot), int(owned[slot])) for slot in owned.nonzero()[0].tolist())
        return {name: blocks for name, blocks in named if name is not None}

    def finish(self, session: str, priority: int) -> bool:
        """All claims of the session become this. False when it is not known."""
        slot = self.sessions.find(session)
        if slot is None:
            return False
        self.tagger.settle_all()
        self._core.finish(slot, priority)
        return True

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        self.tagger.check_integrity()
        self.sessions.check_integrity()
        for slot in self._last:
            if self.sessions.name(slot) is None:
                raise IntegrityError(f"the last prompt of slot {slot} is known, and no session has the slot")

    def _plan(self, payload: Mapping[str, Any] | None) -> Numbers:
        if payload is None:
            return NO_PLAN
        try:
            return read_plan(payload, self._rules.number)
        except InvalidRange:
            self.num_bad_plans += 1
            return NO_PLAN

    def _new_chain(self, tagged: TaggedRequest, group: int, block_tokens: int) -> Chain:
        is_linked = self.linked_groups is None or group in self.linked_groups
        chain = tagged.chains[group] = Chain(block_tokens, is_linked)
        return chain

    def _forget(self, slot: int) -> None:
        self._last.pop(slot, None)
        self._core.forget(slot)
