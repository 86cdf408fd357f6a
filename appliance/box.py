"""The box as its clients see it at any moment: `generation.Inference` for requests, `api.box.Box` for operators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from appliance import __version__
from appliance.access_log import AccessLog
from appliance.accounting import Accounts, Rate
from appliance.api.eviction_page import EvictionPage
from appliance.api.hint_views import Actions, ActionView
from appliance.api.views import (
    BoxStatus,
    MissesView,
    ModelView,
    RequestsView,
)
from appliance.audit import Audit
from appliance.block_desk import BlockDesk
from appliance.box_events import PhaseChanged
from appliance.cache.ledger import Emptied
from appliance.cache_desk import CacheDesk
from appliance.conversation import Conversation
from appliance.errors import InvalidRequest, NotReady
from appliance.event_bus import EventBus
from appliance.generation import ModelCard
from appliance.hint_desk import HintDesk
from appliance.history_desk import HistoryDesk
from appliance.loop_lag import LoopLag
from appliance.metrics import Metrics
from appliance.pipeline import Pipeline
from appliance.policy_book import PolicyBook, PolicyVersion, Read
from appliance.policy_desk import PolicyDesk
from appliance.prefix_desk import PrefixDesk
from appliance.prepared_request import PreparedRequest
from appliance.records import NoRecorder, Recorder
from appliance.request_desk import RequestDesk
from appliance.routing_desk import RoutingDesk
from appliance.status_views import (
    disk_view,
    evicted_block,
    evictions_view,
    host_view,
    latency_view,
    misses_view,
    queue_view,
    rate_view,
    regret_views,
    remote_view,
    state_view,
    worker_view,
)
from appliance.whatif_desk import WhatIfDesk, whatif_of
from appliance.worker_desk import WorkerDesk

if TYPE_CHECKING:
    from appliance.caretaker import Caretaker
    from appliance.chronicle import Chronicle
    from appliance.disk_tier import DiskTier
    from appliance.fleet import Fleet, Member
    from appliance.host_arena import HostArena


ACTION_FIELDS: Final = ActionView.__struct_fields__


class Phase(StrEnum):
    STARTUP = "startup"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class RunningBox:
    """Answers from the first second on; until `open` is called every request is told that the box is starting."""

    def __init__(self, endpoint: str, model: str, source: str, clock: Callable[[], float] = time.time) -> None:
        self.endpoint = endpoint
        self.phase = Phase.STARTUP
        self.activity: str | None = None
        self.accounts = Accounts()
        self.loop_lag = LoopLag()
        self.audit = Audit()
        self._model = model
        self._source = source
        self._clock = clock
        self._started_at = clock()
        self.events = EventBus(int(self._started_at), clock=clock)
        self.recorder: Recorder = NoRecorder()
        """Takes what is to be remembered of this box."""
        self.chronicle: Chronicle | None = None
        self._metrics = Metrics(self.status)
        self._pipeline: Pipeline | None = None
        self._fleet: Fleet | None = None
        self._caretaker: Caretaker | None = None
        self._arena: HostArena | None = None
        self._disk: DiskTier | None = None
        self._policies: PolicyBook | None = None
        self._whatif: WhatIfDesk | None = None

    def open(
        self,
        pipeline: Pipeline,
        fleet: Fleet,
        caretaker: Caretaker | None = None,
        arena: HostArena | None = None,
        disk: DiskTier | None = None,
        record: AccessLog | None = None,
    ) -> None:
        """Take requests from now on. `record`: what of earlier ones can be replayed."""
        self._arena = arena
        self._disk = disk
        self._pipeline = pipeline
        self._caretaker = caretaker
        self._fleet = fleet
        if caretaker is not None:
            self._policies = PolicyBook(caretaker.policy, self._read_so_far, self._clock, self._earlier_policies())
            self._whatif = whatif_of(pipeline, fleet, record)
            caretaker.on_expired = self.hints().expired
        self._enter(Phase.RUNNING)
        self.activity = None

    def attach(self, fleet: Fleet) -> None:
        """Show these workers while they load."""
        self._fleet = fleet

    def keep(self, chronicle: Chronicle) -> None:
        """Remember what happens there, and show what it remembers."""
        self.chronicle = chronicle
        self.recorder = self.audit.recorder = chronicle.database
        self.audit.restore(chronicle.remembered.actions)

    async def drain(self) -> None:
        """Refuse new requests; return when the running ones have finished. What is replayed is cancelled."""
        self._enter(Phase.DRAINING)
        if self._whatif is not None:
            await self._whatif.close()
        if self._pipeline is not None:
            self._pipeline.refuse("The box is shutting down.")
            await self._pipeline.idle()

    async def settle(self) -> None:
        """Have every request that has ended explained and recorded, with what is known now."""
        if self._pipeline is not None:
            await self._pipeline.book.settle()
            self._pipeline.book.close()

    def close(self) -> None:
        """Tell those who still wait for a worker, or for news, that there will be none."""
        if self._pipeline is not None:
            self._pipeline.close("The box is shutting down.")
        self.events.close()

    def models(self) -> tuple[ModelCard, ...]:
        return self._pipeline.models() if self._pipeline is not None else ()

    async def prepare(self, conversation: Conversation, request_id: str) -> PreparedRequest:
        return await self._opened().prepare(conversation, request_id)

    async def count_tokens(self, conversation: Conversation) -> int:
        return await self._opened().count_tokens(conversation)

    def is_ready(self) -> bool:
        return self.phase is Phase.RUNNING and self._fleet is not None and self._fleet.ready() > 0

    def policies(self) -> PolicyDesk:
        caretaker = self._care()
        if self._policies is None:
            raise NotReady("The box is starting.")
        predicted = (lambda _policy: None) if self._whatif is None else self._whatif.predicted
        return PolicyDesk(caretaker, self._policies, self.audit, self.events.emit, predicted, self._clock)

    def blocks(self) -> BlockDesk:
        pipeline, fleet = self._opened(), self._running_fleet()
        return BlockDesk(pipeline, fleet, self._arena, self._disk)

    def prefixes(self) -> PrefixDesk:
        pipeline, fleet = self._opened(), self._running_fleet()
        return PrefixDesk(pipeline, fleet, pipeline.prompt_text)

    def whatif(self) -> WhatIfDesk:
        self._care()
        if self._whatif is None:
            raise NotReady("The box is starting.")
        return self._whatif

    def routing(self) -> RoutingDesk:
        return RoutingDesk(self._opened())

    def cache(self) -> CacheDesk:
        pipeline, fleet = self._opened(), self._running_fleet()
        router = pipeline.router
        desk = CacheDesk(
            fleet,
            router.block_tokens,
            pipeline.retention,
            self._arena,
            self._disk,
            turns=pipeline.book.sessions.turns,
            prefill_seconds=router.paces.prefill_seconds,
        )
        desk.on_flush = lambda worker: pipeline.book.emptied(worker, Emptied.FLUSHED)
        return desk

    def requests(self) -> RequestDesk:
        pipeline = self._opened()
        database = None if self.chronicle is None else self.chronicle.database
        rules, has_host_tier = pipeline.stabiliser.rules, self._arena is not None
        return RequestDesk(
            pipeline, rules, has_host_tier=has_host_tier, audit=self.audit, database=database, clock=self._clock
        )

    def hints(self) -> HintDesk:
        pipeline, caretaker = self._opened(), self._care()
        return HintDesk(pipeline, self._running_fleet(), caretaker, self.audit, self.events.emit, self._clock)

    def workers(self) -> WorkerDesk:
        pipeline = self._opened()
        return WorkerDesk(self._running_fleet(), pipeline.router, self.audit, self._clock)

    def actions(self, limit: int) -> Actions:
        newest = self.audit.newest(limit)
        return Actions([ActionView(*(getattr(one, name) for name in ACTION_FIELDS)) for one in newest])

    def history(self) -> HistoryDesk:
        if self.chronicle is None:
            raise NotReady("this box remembers nothing")
        retention = None if self._pipeline is None else self._pipeline.retention
        return HistoryDesk(self.chronicle.database, retention, self._clock)

    def evictions(self, since: int | None, limit: int) -> EvictionPage:
        found = self.accounts.evictions.remembered(since, limit)
        blocks = [evicted_block(number, one) for number, one in enumerate(found.evictions, found.first_number)]
        missed = 0 if since is None else max(found.first_number - since, 0)
        return EvictionPage(blocks, found.first_number + len(blocks), missed)

    def metrics(self) -> bytes:
        return self._metrics.render()

    def status(self) -> BoxStatus:
        outcomes, last = self.accounts.outcomes, self.accounts.last_read
        return BoxStatus(
            version=__version__,
            phase=self.phase.value,
            activity=self.activity,
            pid=os.getpid(),
            endpoint=self.endpoint,
            started_at=self._started_at,
            uptime_seconds=self._clock() - self._started_at,
            model=ModelView(id=self._model, source=self._source, context_tokens=self._context_tokens()),
            workers=[worker_view(member, self._fleet, self._caretaker) for member in self._members()],
            requests=RequestsView(
                active=outcomes.active,
                finished=outcomes.finished,
                failed=outcomes.failed,
                aborted=outcomes.aborted,
                resumed=outcomes.resumed,
            ),
            cache_since_start=rate_view(self.accounts.since_start()),
            cache_last_minute=rate_view(self.accounts.last_minute()),
            cache_last_request=None if last is None else rate_view(Rate(*last)),
            completion_tokens=self.accounts.completion_tokens,
            stabilised=dict(self.accounts.stabilised),
            latency=latency_view(self.accounts, self.loop_lag),
            evictions=evictions_view(self.accounts.evictions),
            host=host_view(self._arena),
            disk=disk_view(self._disk),
            remote=remote_view(self._disk),
            queue=queue_view(self.accounts.queue, None if self._pipeline is None else self._pipeline.dispatcher),
            state=state_view(self.chronicle),
            speculations=dict(self.accounts.speculations),
            misses=MissesView() if self._pipeline is None else misses_view(self._pipeline.book),
            regrets=[] if self._pipeline is None else regret_views(self._pipeline.router.history.totals),
        )

    def _read_so_far(self) -> Read:
        rate = self.accounts.since_start()
        return Read(rate.prompt_tokens, rate.cached_tokens)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.events.emit(PhaseChanged(phase.value))

    def _earlier_policies(self) -> list[PolicyVersion]:
        return [] if self.chronicle is None else self.chronicle.policies

    def _opened(self) -> Pipeline:
        if self._pipeline is None:
            if self.phase is not Phase.STARTUP:
                raise NotReady("The box is shutting down.")
            raise NotReady(f"The box is starting{': ' + self.activity if self.activity else ''}.")
        return self._pipeline

    def _running_fleet(self) -> Fleet:
        if self._fleet is None:
            raise NotReady("The box is starting.")
        return self._fleet

    def _care(self) -> Caretaker:
        self._opened()
        if self._caretaker is None:
            raise InvalidRequest('this box keeps no policy: it was started with cache.policy = "off"', param="policy")
        return self._caretaker

    def _context_tokens(self) -> int | None:
        return self._pipeline.card.context_tokens if self._pipeline is not None else None

    def _members(self) -> list[Member]:
        return list(self._fleet.members.values()) if self._fleet is not None else []
