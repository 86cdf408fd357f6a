"""A block pool without memory: the eviction core, fed with a trace's blocks instead of an engine's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache import simulation_kernels
from appliance.cache.checks import DONE
from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.contender import Contender
from appliance.cache.errors import IntegrityError, NotEnoughBlocks
from appliance.cache.eviction import EvictionCore, Order
from appliance.cache.forecast import Forecast
from appliance.cache.head_readers import HeadReaders
from appliance.cache.hint import ExpectedDuration
from appliance.cache.kernel import Numbers
from appliance.cache.plan_book import PlanPage
from appliance.cache.policy import Policy
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from appliance.cache.simulation_kernels import ABSENT, Memory
from appliance.cache.trace import UNKNOWN_REGION, Trace
from appliance.conversation import Hints

Slots = Numbers


class Placement(NamedTuple):
    hit_blocks: int
    """Found from the start of the prompt on."""
    unplaced_blocks: int
    """Had no room, as all other memory was held."""


class SimulatedPool:
    """`capacity_blocks` slots, each with one block of the trace, or spare. Requests are rows of the trace; times are
    its seconds."""

    def __init__(
        self, trace: Trace, contender: Contender, capacity_blocks: int, forecast: Forecast | None = None
    ) -> None:
        self._trace = trace
        self._rows = _Rows(trace, uses_hints=contender.uses_hints)
        self._is_forecast = contender.is_forecast
        self.forecast = Forecast() if forecast is None else forecast
        order = Order.FORECAST if contender.is_forecast else Order.LRU
        self._policy = contender.policy
        self._pages: dict[tuple[SessionState, bool, float | None], PlanPage] = {}
        self._core = EvictionCore(capacity_blocks, num_sessions=len(trace.session_names), order=order)
        self._slot_of = np.full(trace.block_count, ABSENT, dtype=np.int32)
        self._memory = Memory(
            slot_of=self._slot_of,
            block_in=np.full(capacity_blocks, ABSENT, dtype=np.int32),
            region_of=np.full(trace.block_count, UNKNOWN_REGION, dtype=np.uint8),
        )
        self._held: dict[int, Slots] = {}
        self._readers = HeadReaders(trace)
        # Slots without a block are held here: so the core's candidates are just the idle blocks.
        self._spare = self._core.take(capacity_blocks, 0).blocks.copy()
        self._num_spare = capacity_blocks
        self.evictions_by_region = np.zeros(UNKNOWN_REGION + 1, dtype=np.int64)

    @property
    def idle_blocks(self) -> int:
        return self._core.num_candidates

    @property
    def spare_blocks(self) -> int:
        """Without a block of the trace."""
        return self._num_spare

    @property
    def claimed_idle_blocks(self) -> int:
        """Those of the idle ones that somebody has claimed above the default."""
        return int(self._core.candidates_by_priority()[DEFAULT_PRIORITY + 1 :].sum())

    def resident_prefix(self, request: int) -> int:
        """How many blocks of the request's prompt are there, from its start on."""
        return _prefix_length(self._slot_of[self._trace.blocks_of(request)] != ABSENT)

    def wait(self, request: int) -> Slots:
        """Keeps what is there of a queued request's prompt longest of all; for `unwait`."""
        blocks = self._trace.blocks_of(request)
        slots = self._slot_of[blocks[: self.resident_prefix(request)]].astype(np.int64)
        self._core.wait(slots)
        return slots

    def unwait(self, slots: Slots) -> None:
        self._core.unwait(slots)

    def arrive(self, request: int, now_seconds: float) -> None:
        """The request is there: its session is not idle any more."""
        if self._is_forecast:
            self.forecast.request_arrived(self._rows.session[request], now_seconds)

    def begin(self, request: int, now_seconds: float) -> Placement:
        """Looks up the prompt, evicts what must go for the rest, and holds all of it until `end`. What finds no room
        because everything else is held is left out."""
        blocks = self._blocks_of(request)
        session, now_ms = self._rows.session[request], _milliseconds(now_seconds)
        self._core.expire(now_ms)
        slots = np.empty(len(blocks), np.int64)
        hit_blocks, placed, num_missing = simulation_kernels.find(
            self._core.header, self._slot_of, blocks, self._num_spare, session, slots
        )
        slots = slots[:placed]
        if num_missing > self._num_spare:
            self._evict(num_missing - self._num_spare, now_seconds)
        self._put(request, slots, num_missing)
        self._held[request] = slots
        if self._policy is not None:
            self._readers.read(request)
            self._claim(request, self._page(self._policy, request, SessionState.RUNNING), now_ms)
        return Placement(hit_blocks, len(blocks) - len(slots))

    def end(self, request: int, now_seconds: float, ended_seconds: float | None = None) -> None:
        """Lets go of the prompt, which stays as long as the policy and the memory allow. `ended_seconds` is when the
        response really ends, if the request is decided in one instant before that."""
        now_ms = _milliseconds(now_seconds)
        self._foretell(request, now_seconds if ended_seconds is None else ended_seconds)
        if self._policy is not None:
            before = self._page(self._policy, request, SessionState.RUNNING)
            after = self._page(self._policy, request, self._state_after(request))
            if before.rules != after.rules:
                self._claim(request, after, now_ms)
        self._core.release(self._held.pop(request), now_ms)

    def trim(self, idle_blocks: int, now_seconds: float) -> None:
        """Evicts until no more than so many blocks are idle. No-op below."""
        excess = self._core.num_candidates - idle_blocks
        if excess > 0:
            self._evict(excess, now_seconds)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        self._core.check_integrity()
        self.forecast.check_integrity()
        resident = np.flatnonzero(self._slot_of != ABSENT)
        if not np.array_equal(self._memory.block_in[self._slot_of[resident]], resident):
            raise IntegrityError("simulated pool: a block is not where it is said to be")
        if len(resident) + self._num_spare != self._core.num_blocks:
            raise IntegrityError(f"simulated pool: {len(resident)} resident and {self._num_spare} spare are not all")

    def _evict(self, count: int, now_seconds: float) -> None:
        """Makes so many slots spare. Raises `NotEnoughBlocks`."""
        if self._is_forecast:
            self.forecast.tell(self._core, now_seconds)
        self._core.expire(_milliseconds(now_seconds))
        freed = self._spare[self._num_spare : self._num_spare + count]
        if not simulation_kernels.evict(self._core.header, self._memory, count, self.evictions_by_region, freed):
            raise NotEnoughBlocks(f"{count} blocks asked for, {self._core.num_candidates} are candidates")
        self._num_spare += count

    def _put(self, request: int, slots: Slots, num_missing: int) -> None:
        """Puts the prompt's missing blocks into spare slots, which `slots` tells from now on."""
        if not num_missing:
            return
        start, first = self._rows.offsets[request], self._num_spare - num_missing
        refused = simulation_kernels.put(
            self._core.header,
            self._memory,
            self._blocks_of(request),
            self._trace.regions[start : start + len(slots)],
            slots,
            self._spare[first : self._num_spare],
            self._rows.session[request],
        )
        if refused != DONE:
            raise IntegrityError(f"simulated pool: slot {refused} of a prompt cannot be filled")
        self._num_spare = first

    def _claim(self, request: int, page: PlanPage, now_ms: int) -> None:
        slots = self._held[request]
        if len(slots) == 0:
            return
        self._core.expire(now_ms)
        start, session = self._rows.offsets[request], self._rows.session[request]
        claims = page.claims(self._trace.regions[start : start + len(slots)])
        refused = simulation_kernels.claim_runs(self._core.header, session, slots, *claims)
        if refused != DONE:
            raise IntegrityError(f"simulated pool: slot {refused} of a prompt cannot be claimed")

    def _page(self, policy: Policy, request: int, state: SessionState) -> PlanPage:
        is_shared = self._readers.are_several(request)
        tool_wait_seconds = self._rows.tool_wait_seconds[request] if state is SessionState.TOOL_WAIT else None
        key = state, is_shared, tool_wait_seconds
        page = self._pages.get(key)
        if page is None:
            hints = Hints(tool_wait_seconds=tool_wait_seconds)
            page = self._pages[key] = PlanPage(policy, SessionContext(state=state, shared=is_shared, hints=hints))
        return page

    def _foretell(self, request: int, ended_seconds: float) -> None:
        if not self._is_forecast:
            return
        tool_seconds = self._rows.tool_wait_seconds[request]
        self.forecast.response_ended(
            self._rows.session[request],
            ended_seconds,
            waits_for_tool=self._rows.waits_for_tool[request],
            hint=None if tool_seconds is None else ExpectedDuration(tool_seconds),
            is_final=self._rows.is_final[request],
        )

    def _blocks_of(self, request: int) -> NDArray[np.int32]:
        return self._trace.blocks[self._rows.offsets[request] : self._rows.offsets[request + 1]]

    def _state_after(self, request: int) -> SessionState:
        if self._rows.is_final[request]:
            return SessionState.FINISHED
        return SessionState.TOOL_WAIT if self._rows.waits_for_tool[request] else SessionState.IDLE


class _Rows:
    """What a trace says of each request, as lists: one number of an array costs as much as ten of a list. Hints that
    are not believed are not there."""

    def __init__(self, trace: Trace, *, uses_hints: bool) -> None:
        self.offsets: list[int] = trace.offsets.tolist()
        self.session: list[int] = trace.session.tolist()
        self.waits_for_tool: list[bool] = trace.waits_for_tool.tolist()
        self.is_final: list[bool] = (trace.is_final & uses_hints).tolist()
        is_told = uses_hints & trace.waits_for_tool & ~np.isnan(trace.tool_wait_seconds)
        tool_wait = zip(is_told.tolist(), trace.tool_wait_seconds.tolist(), strict=True)
        self.tool_wait_seconds = [seconds if told else None for told, seconds in tool_wait]


def _prefix_length(is_there: NDArray[np.bool_]) -> int:
    return len(is_there) if is_there.all() else int(np.argmin(is_there))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
