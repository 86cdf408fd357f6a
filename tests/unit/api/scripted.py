"""Stand-ins at the two borders of the API: an inference that plays a script, and an ASGI connection held by a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import httpx
import msgspec
from fastapi import FastAPI
from msgspec.structs import replace
from starlette.types import Message

from appliance.api.app import create_app
from appliance.api.block_views import BlockChain, BlockMapView, ChainPart, MapTier
from appliance.api.cache_views import (
    CacheView,
    Flushed,
    Flushes,
    Resized,
    SessionCache,
    SessionCaches,
    TierName,
    TierView,
    Verification,
    Verified,
)
from appliance.api.eviction_page import EvictedBlock, EvictionPage
from appliance.api.hint_views import (
    Actions,
    ActionView,
    HintAnswer,
    HintImpact,
    HintRequest,
    Hints,
    HintVerb,
    HintView,
    HintWithdrawn,
)
from appliance.api.history_views import (
    EvictionHistory,
    PastBlocks,
    PastEviction,
    PastPrefixes,
    PastSessions,
    SessionEntry,
    SessionList,
    Snapshot,
)
from appliance.api.lint_views import BusterView, Lint
from appliance.api.prefix_views import Fork, ForkSide, Prefixes, PrefixSearch, PrefixView
from appliance.api.problems import NothingOfThisName
from appliance.api.request_views import (
    ActiveRequestView,
    BlameView,
    Cancelled,
    Finding,
    RangeView,
    RequestList,
    RequestView,
    Why,
)
from appliance.api.routing_views import (
    CandidateView,
    CostView,
    DecisionView,
    OutcomeView,
    OverlapView,
    PastRouting,
    PlacementView,
    ReservationView,
    Routing,
    RoutingTotals,
)
from appliance.api.views import (
    BoxPhase,
    BoxStatus,
    LatencyView,
    ModelView,
    RateView,
    RequestsView,
    WorkerPhase,
    WorkerView,
)
from appliance.api.whatif_views import WhatIfJob, WhatIfJobs
from appliance.api.worker_views import RestartAnswer, RestartImpact
from appliance.audit import Audit
from appliance.cache.policy import Policy
from appliance.conversation import Conversation
from appliance.event_bus import EventBus
from appliance.generation import Delta, Event, Finished, FinishReason, ModelCard, Started, Usage
from appliance.policy_book import PolicyBook
from appliance.policy_desk import PolicyDesk

if TYPE_CHECKING:
    from appliance.caretaker import Caretaker

USAGE = Usage(prompt_tokens=40, cached_tokens=32, completion_tokens=7, reasoning_tokens=3)
STARTED = Started(prompt_tokens=40, cached_tokens=32, worker=0)
HELLO: tuple[Event, ...] = (
    STARTED,
    Delta(0, text="Hel"),
    Delta(0, text="lo", finish=FinishReason.STOP),
    Finished(USAGE),
)

Step = Event | Exception | asyncio.Event


class ScriptedInference:
    """Plays `script` for every request: events are passed on, exceptions raised, an `asyncio.Event` is waited for."""

    def __init__(self, script: Sequence[Step] = HELLO, refusal: Exception | None = None) -> None:
        self.script = script
        self.refusal = refusal
        self.conversations: list[Conversation] = []
        self.request_ids: list[str] = []
        self.num_open = 0
        self.opened = asyncio.Event()

    def models(self) -> tuple[ModelCard, ...]:
        return (ModelCard("org/small", context_tokens=8192, created=1_700_000_000),)

    async def prepare(self, conversation: Conversation, request_id: str) -> ScriptedRequest:
        self.conversations.append(conversation)
        self.request_ids.append(request_id)
        if self.refusal is not None:
            raise self.refusal
        return ScriptedRequest(self)

    async def count_tokens(self, conversation: Conversation) -> int:
        return USAGE.prompt_tokens


class ScriptedRequest:
    def __init__(self, inference: ScriptedInference) -> None:
        self._inference = inference

    @property
    def prompt_tokens(self) -> int:
        return USAGE.prompt_tokens

    async def events(self) -> AsyncGenerator[Event]:
        self._inference.num_open += 1
        self._inference.opened.set()
        try:
            for step in self._inference.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self._inference.num_open -= 1


CANDIDATE = CandidateView(
    worker=0,
    overlap=OverlapView(gpu=16, host=32, disk=32, remote=32),
    pending_tokens=0,
    missing_tokens=8,
    running_requests=1,
    queued_tokens=0,
    cost=CostView(0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, total=0.2),
)
DECISION = DecisionView(
    request_id="chatcmpl-t1",
    age_seconds=1.5,
    worker=0,
    reason="only",
    why="the only candidate",
    prompt_tokens=40,
    candidates=[CANDIDATE],
    outcome=OutcomeView(cached_tokens=32, wait_seconds=0.2, missed_tokens=0, best_worker=0, regret_seconds=0.0),
)


class ScriptedDesk:
    """One decision, always the same; places are named p1, p2, …"""

    def __init__(self) -> None:
        self.asked: list[Conversation | Sequence[int]] = []
        self.reserve_seconds: dict[str, float] = {}

    async def place(self, asked: Conversation | Sequence[int], reserve_seconds: float | None) -> PlacementView:
        self.asked.append(asked)
        reservation = None
        if reserve_seconds is not None:
            reservation = ReservationView(f"p{len(self.asked)}", reserve_seconds)
            self.reserve_seconds[reservation.id] = reserve_seconds
        return PlacementView(0, "only", "the only candidate", 40, 16, [CANDIDATE], reservation)

    def free(self, name: str) -> bool:
        return self.reserve_seconds.pop(name, None) is not None

    def of_request(self, request_id: str) -> list[DecisionView]:
        return [DECISION] if request_id == DECISION.request_id else []

    def newest(self, most: int) -> Routing:
        return Routing(RoutingTotals(3, 2, 1, 0.5, 64, 0), [DECISION] * min(most, 3))


class ScriptedCache:
    """`flushed` are the tiers that were, and of which worker, `resized` those that were, and to how many bytes."""

    def __init__(self) -> None:
        self.flushed: list[tuple[str, int | None]] = []
        self.resized: list[tuple[str, int]] = []

    def tiers(self) -> CacheView:
        return CacheView(16, [TierView("gpu", 0, 100, 60, 10, None), TierView("host", None, 500, 200, 0, 1 << 20)])

    async def sessions(self, limit: int) -> SessionCaches:
        return SessionCaches([SessionCache("s", None, "idle", 640, {"0": 640}, 320)] * min(limit, 2), 2)

    async def verify(self) -> Verification:
        return Verification(False, [Verified("gpu", 0, "two blocks are one"), Verified("host", None, None)])

    async def resize(self, tier: TierName, num_bytes: int) -> Resized:
        self.resized.append((tier, num_bytes))
        return Resized("disk" if tier == "disk" else "host", 7, num_bytes)

    async def flush(self, tier: TierName, worker: int | None) -> Flushes:
        self.flushed.append((tier, worker))
        return Flushes([Flushed(tier, worker, 7)])


JOB = WhatIfJob("w1", "running", "chat", "mine", "me", 5.0, 60.0, 0.5, 1.0, None, None, None)


class ScriptedBlocks:
    """`asked` are the workers (`None`: the host tier or the disk) and cells that were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int | None, int]] = []

    async def blocks(self, worker: int, cells: int) -> BlockMapView:
        self.asked.append((worker, cells))
        owner, first, region, priority, age, reuse = (
            [0, None],
            [32, None],
            [0, None],
            [35, None],
            [1.5, None],
            [2, None],
        )
        return BlockMapView(
            "gpu",
            worker,
            16,
            128,
            64,
            ["s"],
            ["user"],
            [9, 0],
            [0, 0],
            [0, 0],
            owner,
            first,
            region,
            priority,
            age,
            reuse,
        )

    async def host_blocks(self, cells: int) -> BlockMapView:
        self.asked.append((None, cells))
        return _unowned("host", [None])

    async def disk_blocks(self, cells: int) -> BlockMapView:
        self.asked.append((None, cells))
        return _unowned("disk", [3])

    async def chain(self, session: str, token: int) -> BlockChain:
        part = ChainPart(0, 32, "user", 1, [session], {"0": "gpu"})
        return BlockChain(session, 16, 60, token // 16 * 16 + 16, 32, [part])


class ScriptedPrefixes:
    """Two sessions that share 64 tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def prefixes(self, limit: int, text: int = 0) -> Prefixes:
        self.asked.append((limit, text))
        node = PrefixView(0, None, 0, 64, 2, ["s", "t"], "user", {"0": 64})
        return Prefixes([node] * min(limit, 1), 16, 2, 2, 128, 64)

    async def search(self, limit: int, text: int, words: str) -> Prefixes:
        self.asked.append((limit, text, words))
        return Prefixes([], 16, 2, 2, 128, 64, PrefixSearch(words, [], 64, "time"))

    async def fork(self, sessions: Sequence[str]) -> Fork:
        return Fork(70, 64, "the ", [ForkSide(name, 128, "messages[0]", name) for name in sessions])


def _unowned(tier: MapTier, reuse: list[int | None]) -> BlockMapView:
    return BlockMapView(tier, None, 16, 9, 9, [], [], [1], [0], [0], [None], [None], [None], [None], [None], reuse)


class ScriptedWhatIf:
    """One replay, called w1, that runs until it is cancelled."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float, str]] = []

    def start(self, policy: Policy, active: Policy, last_seconds: float, by: str) -> WhatIfJob:
        self.asked.append((policy.name, active.name, last_seconds, by))
        return JOB

    def newest(self) -> WhatIfJobs:
        return WhatIfJobs([JOB])

    def get(self, job_id: str) -> WhatIfJob:
        if job_id != JOB.id:
            raise NothingOfThisName(f"no replay {job_id!r} is remembered", code="no_job")
        return JOB

    async def cancel(self, job_id: str) -> WhatIfJob:
        return replace(self.get(job_id), state="cancelled")


EVICTED = RangeView(16, 36, "recomputed", "evicted", BlameView("sub", "r2", "p:1", 35, 9.0, 60.0), None, None)
REQUEST = RequestView(
    id="chatcmpl-t1",
    session="s",
    parent=None,
    turn=2,
    client="claude-cli/2",
    model="org/small",
    worker=0,
    arrived_at=10.0,
    first_token_seconds=0.2,
    total_seconds=0.5,
    queued_seconds=0.0,
    prompt_tokens=40,
    cached_tokens=16,
    completion_tokens=7,
    outcome="finished",
    finish="stop",
    hints={"priority": 3},
    error=None,
    ranges=[
        RangeView(0, 16, "gpu", None, None, None, None),
        EVICTED,
        RangeView(36, 40, "recomputed", "below_block_boundary", None, None, None),
    ],
)
ACTIVE = ActiveRequestView(
    id="msg_t2",
    session="s",
    turn=3,
    client="c",
    protocol="messages",
    arrived_at=100.0,
    phase="decode",
    worker=1,
    queued_seconds=0.1,
    first_token_seconds=0.4,
    total_seconds=2.5,
    prompt_tokens=64,
    cached_tokens=48,
    completion_tokens=1200,
)
WHY = Why(REQUEST, "session s asked", [Finding(20, 16, "recomputed", "evicted", "for sub", "more memory", 0.4)])


BUSTER = BusterView(
    "claude-cli/2", "system", None, "attribution", False, 2, 3, 8000, 4.5, "cch=1", "cch=2", "chatcmpl-t1", "turn it on"
)


class ScriptedRequests:
    """Knows one request. `asked` are the lists that were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str | None, float | None, float | None]] = []

    async def newest(
        self, limit: int, session: str | None, since: float | None = None, until: float | None = None
    ) -> RequestList:
        self.asked.append((limit, session, since, until))
        return RequestList([REQUEST], [ACTIVE])

    async def find(self, name: str) -> RequestView | None:
        return REQUEST if name in ("last", REQUEST.id) else None

    async def why(self, name: str) -> Why | None:
        return WHY if await self.find(name) else None

    async def cancel(self, name: str, by: str, *, dry_run: bool) -> Cancelled:
        if name != ACTIVE.id:
            raise NothingOfThisName(f"no request {name!r} is under way", code="no_request")
        return Cancelled(dry_run, ACTIVE, 1248, "ends an answer", None if dry_run else f"cancelled by {by}")

    async def lint(self, seconds: float) -> Lint:
        return Lint(seconds, 3, [BUSTER])


class ScriptedCare:
    """In the place of a caretaker, and of its retention."""

    keeps_thinking = None

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def retention(self) -> ScriptedCare:
        return self

    async def apply(self, policy: Policy) -> None:
        self.policy = policy


class ScriptedHints:
    """One session, called s; hints are named h1, h2, …"""

    def __init__(self) -> None:
        self.asked: list[tuple[HintRequest, bool]] = []
        self.held: dict[str, HintView] = {}

    def active(self) -> Hints:
        return Hints([*self.held.values()])

    async def ask(self, request: HintRequest, *, dry_run: bool) -> HintAnswer:
        self.asked.append((request, dry_run))
        if request.session != "s":
            raise NothingOfThisName(f"no session {request.session!r} is known", code="no_session")
        impact = HintImpact(640, {"0": 640}, 320, ["t"], 0.5, "keeps 640 tokens of s")
        if dry_run or request.verb in ("prefetch", "turn_finished"):
            return HintAnswer(dry_run, impact, None, None if dry_run else "done")
        name = f"h{len(self.asked)}"
        self.held[name] = HintView(
            name, cast("HintVerb", request.verb), "s", request.by or "operator", 1.0, 61.0, 60.0, 0, None, 100, None
        )
        return HintAnswer(False, impact, self.held[name], "done")

    async def withdraw(self, hint_id: str, by: str) -> HintWithdrawn:
        if hint_id not in self.held:
            raise NothingOfThisName(f"no hint {hint_id!r} is active", code="no_hint")
        return HintWithdrawn(self.held.pop(hint_id), f"withdrawn by {by}")


class ScriptedWorkers:
    """One worker, 0."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, bool]] = []

    async def restart(self, worker: int, by: str, *, dry_run: bool) -> RestartAnswer:
        self.asked.append((worker, by, dry_run))
        if worker:
            raise NothingOfThisName(f"no worker {worker} is in this box; there are 0", code="no_worker")
        impact = RestartImpact(1, 64, 2, 0.5, "1 request goes on")
        return RestartAnswer(worker, dry_run, impact, None if dry_run else "restarted")


class ScriptedHistory:
    """Two sessions, one eviction, and a snapshot of every second from 100 on."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def sessions(self, since: float | None, limit: int) -> SessionList:
        self.asked = [since, limit]
        names = ["s2", "s1"][:limit]
        return SessionList([SessionEntry(name, None, None, "small", "idle", False, 2, 1.0, 2.0, 9) for name in names])

    async def evictions(
        self, session: str | None, since: float | None, until: float | None, limit: int
    ) -> EvictionHistory:
        self.asked = [session, since, until, limit]
        one = PastEviction(1.0, 0, 5.0, 0, "01ff", 32, "system", "s1", 1.5, 90, "mine.toml:9", False, "s2", "r")
        return EvictionHistory([one])

    async def snapshot(self, at: float | None) -> Snapshot | None:
        return None if at is not None and at < 100 else Snapshot(float(int(at or 200)), {"phase": "running"})

    async def session_caches(self, at: float | None) -> PastSessions | None:
        return None if at is not None and at < 100 else PastSessions(100.0, SessionCaches([], 0))

    async def blocks(self, whose: int | str, at: float | None) -> PastBlocks | None:
        self.asked = [whose, at]
        return None

    async def prefixes(self, at: float | None) -> PastPrefixes | None:
        return None if at is not None and at < 100 else PastPrefixes(100.0, Prefixes([], 16, 0, 0, 0, 0))

    async def decisions(self, until: float | None, limit: int) -> PastRouting:
        self.asked = [until, limit]
        return PastRouting([])

    async def hints(self, at: float) -> Hints:
        self.asked = [at]
        return Hints([])


class ScriptedBox:
    def __init__(
        self, *, is_ready: bool = True, phase: BoxPhase = "running", worker_phases: Sequence[WorkerPhase] = ("running",)
    ) -> None:
        self.care = ScriptedCare(Policy("mine", ()))
        self.policy_book = PolicyBook(self.care.policy, clock=lambda: 5.0)
        self.desk = ScriptedDesk()
        self.cache_desk = ScriptedCache()
        self.request_desk = ScriptedRequests()
        self.hint_desk = ScriptedHints()
        self.worker_desk = ScriptedWorkers()
        self.replays = ScriptedWhatIf()
        self.block_desk = ScriptedBlocks()
        self.prefix_desk = ScriptedPrefixes()
        self.history_desk = ScriptedHistory()
        self.evicted: list[EvictedBlock] = []
        self.events = EventBus()
        self.events.close()
        self._is_ready = is_ready
        self._phase = phase
        self._workers = [worker_view(number, worker_phase) for number, worker_phase in enumerate(worker_phases)]

    def status(self) -> BoxStatus:
        rate = RateView(prompt_tokens=0, cached_tokens=0, hit_rate=None)
        return BoxStatus(
            version="1",
            phase=self._phase,
            activity=None,
            pid=1,
            endpoint="http://127.0.0.1:8000",
            started_at=0.0,
            uptime_seconds=1.0,
            model=ModelView(id="org/small", source="small", context_tokens=None),
            workers=self._workers,
            requests=RequestsView(active=0, finished=0, failed=0, aborted=0, resumed=0),
            cache_since_start=rate,
            cache_last_minute=rate,
            completion_tokens=0,
            stabilised={},
            latency=LatencyView(ttft_p50_ms=None, ttft_p99_ms=None),
        )

    def is_ready(self) -> bool:
        return self._is_ready

    def evictions(self, since: int | None, limit: int) -> EvictionPage:
        first = since or 0
        return EvictionPage(self.evicted[first : first + limit], first, missed=0)

    def cache(self) -> ScriptedCache:
        return self.cache_desk

    def history(self) -> ScriptedHistory:
        return self.history_desk

    def requests(self) -> ScriptedRequests:
        return self.request_desk

    def hints(self) -> ScriptedHints:
        return self.hint_desk

    def workers(self) -> ScriptedWorkers:
        return self.worker_desk

    def blocks(self) -> ScriptedBlocks:
        return self.block_desk

    def prefixes(self) -> ScriptedPrefixes:
        return self.prefix_desk

    def whatif(self) -> ScriptedWhatIf:
        return self.replays

    def actions(self, limit: int) -> Actions:
        return Actions([ActionView(5.0, "me", "hint pin", "s", {"impact": "none"}, None)] * min(limit, 2))

    def policies(self) -> PolicyDesk:
        care = cast("Caretaker", self.care)
        return PolicyDesk(care, self.policy_book, Audit(), lambda _event: None, clock=lambda: 5.0)

    def routing(self) -> ScriptedDesk:
        return self.desk

    def metrics(self) -> bytes:
        return b"dynamo_box_up 1\n"


def worker_view(worker_id: int, phase: WorkerPhase) -> WorkerView:
    return WorkerView(
        id=worker_id,
        phase=phase,
        pid=None,
        devices=["cpu"],
        restarts=0,
        running_requests=0,
        prefill_blocks_queued=0,
        kv_blocks_total=None,
        kv_blocks_indexed=0,
        kv_usage=None,
        index_in_step=True,
        event_batches=0,
        event_gaps=0,
        event_resets=0,
        last_error=None,
    )


def tokens() -> Callable[[], str]:
    """A source of ids: t1, t2, …"""
    numbers: Iterator[int] = iter(range(1, 1_000_000))
    return lambda: f"t{next(numbers)}"


def new_app(inference: ScriptedInference, box: ScriptedBox | None = None, **options: Any) -> FastAPI:
    settings: dict[str, Any] = {
        "max_body_bytes": 10_000,
        "max_requests": 4,
        "clock": lambda: 1_700_000_000.9,
        "new_token": tokens(),
    }
    return create_app(inference, box or ScriptedBox(), **(settings | options))


def client_of(app: FastAPI, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://box", **options)


def chat_body(**fields: Any) -> dict[str, Any]:
    return {"model": "org/small", "messages": [{"role": "user", "content": "Hi"}], **fields}


class Connection:
    """One request driven message by message, so that the client may leave whenever the test wants."""

    def __init__(
        self,
        app: FastAPI,
        body: dict[str, Any],
        *,
        more_body: bool = False,
        path: str = "/v1/chat/completions",
        method: str = "POST",
    ) -> None:
        self.sent: list[Message] = []
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        first = {"type": "http.request", "body": msgspec.json.encode(body), "more_body": more_body}
        self._incoming.put_nowait(first)
        self._changed = asyncio.Condition()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 80),
        }
        self.task = asyncio.create_task(app(scope, self._incoming.get, self._send))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def until_sent(self, piece: bytes) -> None:
        async with self._changed, asyncio.timeout(5):
            await self._changed.wait_for(lambda: piece in self.body)

    async def _send(self, message: Message) -> None:
        async with self._changed:
            self.sent.append(message)
            self._changed.notify_all()
