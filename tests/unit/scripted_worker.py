"""Fakes for the engine's side of the border: a worker that plays steps, a renderer and a parser for plain text.

A token is its own text: the number whose bytes are the characters, at most three of them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from appliance.accounting import Accounts
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.conversation import Conversation, Message, Role, Text
from appliance.engine.load import EngineLoad
from appliance.engine.plan import WorkerPlan
from appliance.engine.retention.block_map import BlockMap
from appliance.engine.retention.eviction import EvictionBatch
from appliance.engine.retention.worth import Worth
from appliance.errors import EngineStartError, SetAside, WorkerDied
from appliance.fleet import Fleet
from appliance.generation import Delta, Event, FinishReason, MarkedPrefix, ModelCard
from appliance.pipeline import Pipeline, Reading
from appliance.retention import Retention
from appliance.router.index import PrefixIndex
from appliance.router.router import Router, RoutingPolicy
from appliance.settings import WorkerSettings
from appliance.stabiliser.rules import select_rules
from appliance.stabiliser.stabiliser import Stabiliser
from appliance.waiting_room import DEFAULT_LIMITS, QueueLimits

if TYPE_CHECKING:
    from appliance.engine.parsing import AnswerParser
    from appliance.engine.rendering import Renderer
    from appliance.engine.worker import Worker

BLOCK_TOKENS = 2
CARD = ModelCard("org/small", context_tokens=8192, created=1_700_000_000)
PATIENCE_SECONDS = 5.0
"""Only a test that fails waits so long."""
MOST_CALLS = 100


def token_of(piece: str) -> int:
    return int.from_bytes(piece.encode("ascii"), "big")


def text_of(token_ids: Iterable[int]) -> str:
    return b"".join(token.to_bytes(3, "big").lstrip(b"\0") for token in token_ids).decode("ascii")


@dataclass(frozen=True, slots=True)
class ScriptedStep:
    """The fields of `appliance.engine.worker.Step`."""

    token_ids: Sequence[int] = ()
    text: str = ""
    finish: str | None = None
    cached_tokens: int = 0
    choice: int = 0
    logprobs: None = None
    matched_stop: str | int | None = None
    loaded_tokens: int = 0


def steps_of(pieces: Sequence[str], *, hold_chars: int = 0, cached_tokens: int = 0) -> list[ScriptedStep]:
    """One step a token, as an engine makes them: it keeps the last `hold_chars` back until the answer has ended."""
    steps, text, shown = [], "", 0
    for number, piece in enumerate(pieces, 1):
        text += piece
        is_last = number == len(pieces)
        end = len(text) if is_last else max(shown, len(text) - hold_chars)
        finish = "stop" if is_last else None
        steps.append(ScriptedStep((token_of(piece),), text[shown:end], finish, cached_tokens))
        shown = end
    return steps


@dataclass(frozen=True, slots=True)
class ScriptedParams:
    max_tokens: int = 100
    n: int = 1


@dataclass(frozen=True, slots=True)
class ScriptedPrompt:
    """The fields of `appliance.engine.prompt.Prompt` that a pipeline reads; the engine input is the tokens."""

    token_ids: list[int]
    params: ScriptedParams = field(default_factory=ScriptedParams)
    resumable: bool = True
    extra_keys: tuple[tuple[object, ...] | None, ...] = ()
    marked: tuple[MarkedPrefix, ...] = ()
    regions: RegionMap | None = None
    retention: dict[str, Any] | None = None

    @property
    def engine_input(self) -> list[int]:
        return self.token_ids

    def resumed(self, generated: Sequence[int]) -> ScriptedPrompt:
        params = replace(self.params, max_tokens=self.params.max_tokens - len(generated))
        return replace(self, token_ids=[*self.token_ids, *generated], params=params)


class ScriptedRenderer:
    """A token for each character of a conversation. `grammar` makes requests that cannot be resumed."""

    def __init__(self) -> None:
        self.grammar = False
        self.refusal: Exception | None = None

    async def render(self, conversation: Conversation) -> ScriptedPrompt:
        if self.refusal is not None:
            raise self.refusal
        blocks = [block for message in conversation.messages for block in message.blocks]
        text = "".join(block.text for block in blocks if isinstance(block, Text))
        sampling, salt = conversation.sampling, conversation.cache_salt
        raw = conversation.raw.token_ids if conversation.raw is not None else None
        return ScriptedPrompt(
            [token_of(character) for character in text] if raw is None else list(raw),
            ScriptedParams(sampling.max_tokens or 100, sampling.n),
            resumable=sampling.n == 1 and not self.grammar,
            extra_keys=((salt,),) if salt else (),
            regions=RegionMap([Span(0, len(text), Region.USER)] if text else ()),
        )

    async def count(self, conversation: Conversation) -> int:
        return len((await self.render(conversation)).token_ids)

    def held_back(self, prompt: ScriptedPrompt, generated: Sequence[int], shown: str) -> str:
        return text_of(generated).removeprefix(shown)


class ScriptedParser:
    """Plain text, but `<` waits for its `>`, as the markers of tools do. With a `fault` it fails at the first step."""

    def __init__(self, renderer: object, prompt: object, fault: Exception | None = None) -> None:
        self.reasoning_tokens = 0
        self._fault = fault
        self._token_ids: dict[int, list[int]] = {}
        self._waiting = ""

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self._token_ids.values()))

    def generated(self, choice: int = 0) -> list[int]:
        return self._token_ids.get(choice, [])

    def feed(self, step: ScriptedStep) -> Delta | None:
        if self._fault is not None:
            raise self._fault
        self._token_ids.setdefault(step.choice, []).extend(step.token_ids)
        text, self._waiting = self._waiting + step.text, ""
        start = text.rfind("<")
        if step.finish is None and start >= 0 and ">" not in text[start:]:
            text, self._waiting = text[:start], text[start:]
        finish = FinishReason(step.finish) if step.finish is not None else None
        return Delta(step.choice, text, finish=finish, matched_stop=step.matched_stop) if text or finish else None


class Death(NamedTuple):
    """In a script: the engine ends here, with this request in flight."""


DIE = Death()
Play = ScriptedStep | asyncio.Event | Exception | Death


class Call(NamedTuple):
    token_ids: list[int]
    max_tokens: int
    request_id: str
    priority: int
    session_id: str | None
    retention: dict[str, Any] | None


class ScriptedWorker:
    """A fake of `appliance.engine.worker.Worker`. Each request plays the next of `scripts`: steps are passed on, events
    waited for, exceptions raised, and at `DIE` the engine ends. Each start takes the next of `starts` likewise."""

    def __init__(self, worker_id: int = 0, *scripts: Sequence[Play]) -> None:
        endpoint = f"inproc://{worker_id}"
        self.plan = WorkerPlan(worker_id, (worker_id,), (), endpoint, endpoint, Path("worker.log"))
        self.load = EngineLoad()
        self.load.kv_usage = 0.25
        self.owned: dict[str, int] = {}
        self.fault: str | None = None
        self.map: BlockMap | None = None
        self.is_busy = False
        self.scripts = deque(scripts)
        self.starts: deque[asyncio.Event | Exception] = deque()
        self.hangs = False
        self.replans: list[tuple[str, dict[str, Any]]] = []
        self.keeps: dict[str, float] | None = None
        """As told last, session by session; `None` without a forecast."""
        self.told_keeps: list[dict[str, float]] = []
        self.worths: list[dict[str, Worth]] = []
        self.evicted: deque[EvictionBatch] = deque()
        self.stats: dict[str, Any] | None = None
        self.gate: asyncio.Event | None = None
        """What it is told of sessions waits for this."""
        self.calls: list[Call] = []
        self.seats = 64
        self.step_tokens = 512
        self.awaited: dict[str, list[int]] = {}
        """By the name of the request that waits, the blocks that it was told to keep."""
        self.told_awaited: list[str] = []
        self._asides: dict[str, asyncio.Event] = {}
        self.process = 1000 + worker_id
        self.num_open = 0
        self.num_starts = 0
        self.num_kills = 0
        self.alive = False
        self._died = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self.process if self.alive else None

    @property
    def kv_blocks(self) -> int | None:
        return 64 if self.alive else None

    async def start(self) -> None:
        self.num_starts += 1
        self._died = asyncio.Event()
        if self.starts:
            gate = self.starts.popleft()
            if isinstance(gate, Exception):
                raise gate
            await gate.wait()
        self.alive = True

    async def stop(self) -> None:
        self.end()

    def kill(self) -> None:
        self.num_kills += 1
        self.end()

    def end(self) -> None:
        """The engine's process ends."""
        self.alive = False
        self._died.set()

    async def died(self) -> None:
        await self._died.wait()

    async def ping(self, timeout_seconds: float) -> bool:
        return self.alive and not self.hangs

    async def replan(self, session_id: str, payload: dict[str, Any]) -> int:
        if not self.alive:
            raise self._death()
        self.replans.append((session_id, payload))
        return self.owned.get(session_id, 0)

    async def replan_all(self, payloads: dict[str, dict[str, Any]]) -> int:
        await self._answers()
        self.replans += payloads.items()
        return 0

    async def set_keeps(self, keeps: dict[str, float], unnamed: float) -> None:
        await self._answers()
        self.keeps = (self.keeps or {}) | keeps
        self.told_keeps.append(keeps)

    async def clear_keeps(self) -> None:
        await self._answers()
        self.keeps = None

    async def apply_policy(self, worths: dict[str, Worth]) -> None:
        await self._answers()
        self.worths.append(worths)

    async def evictions(self, most: int) -> EvictionBatch:
        await self._answers()
        return self.evicted.popleft() if self.evicted else EvictionBatch((), 0, 0)

    async def retention_stats(self) -> dict[str, Any] | None:
        await self._answers()
        return self.stats

    async def block_map(self, cells: int) -> BlockMap | None:
        await self._answers()
        return self.map

    async def session_blocks(self) -> dict[str, int]:
        await self._answers()
        return self.owned

    async def check_integrity(self) -> str | None:
        await self._answers()
        return self.fault

    async def flush(self) -> bool:
        await self._answers()
        return not self.is_busy

    async def wait_for(self, name: str, block_hashes: list[int]) -> int:
        await self._answers()
        self.awaited[name] = block_hashes
        self.told_awaited.append(name)
        return len(block_hashes)

    async def stop_waiting(self, name: str) -> None:
        await self._answers()
        self.awaited.pop(name, None)

    async def set_aside(self, request_id: str) -> None:
        if request_id in self._asides:
            self._asides[request_id].set()

    async def _answers(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if not self.alive:
            raise self._death()

    async def generate(
        self,
        prompt: ScriptedPrompt,
        request_id: str,
        *,
        priority: int,
        session_id: str | None,
    ) -> AsyncGenerator[ScriptedStep]:
        # A pipeline that asks a dead worker for ever never yields to the loop: no timeout ends it, memory would.
        assert len(self.calls) < MOST_CALLS
        self.calls.append(
            Call(prompt.engine_input, prompt.params.max_tokens, request_id, priority, session_id, prompt.retention)
        )
        if not self.alive:
            raise self._death()
        self.num_open += 1
        aside = self._asides[request_id] = asyncio.Event()
        try:
            for play in self.scripts.popleft():
                if isinstance(play, ScriptedStep):
                    if aside.is_set():
                        raise SetAside(request_id)
                    yield play
                else:
                    await self._play(play, aside)
        finally:
            self.num_open -= 1
            del self._asides[request_id]

    async def _play(self, play: asyncio.Event | Exception | Death, aside: asyncio.Event) -> None:
        if isinstance(play, Death):
            self.end()
            raise self._death()
        if isinstance(play, Exception):
            raise play
        await self._unless_it_dies(play, aside)

    async def _unless_it_dies(self, event: asyncio.Event, aside: asyncio.Event) -> None:
        waits = [asyncio.create_task(each.wait()) for each in (event, aside, self._died)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._died.is_set():
            raise self._death()
        if aside.is_set():
            raise SetAside("made room")

    def _death(self) -> WorkerDied:
        return WorkerDied(f"worker {self.plan.id} ended")


class ScriptedBox:
    """Real index, router, fleet, pipeline and accounts over scripted workers. Restarts wait no time."""

    def __init__(
        self,
        *workers: ScriptedWorker,
        accounts: Accounts | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        parser_fault: Exception | None = None,
        policy: RoutingPolicy = RoutingPolicy.ROUND_ROBIN,
        limits: QueueLimits = DEFAULT_LIMITS,
        **settings: Any,
    ) -> None:
        self.workers = workers
        self.index = PrefixIndex()
        self.router = Router(
            self.index,
            (),
            policy,
            block_tokens=BLOCK_TOKENS,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )
        self.fleet = Fleet(
            cast("Sequence[Worker]", workers),
            self.index,
            self.router,
            WorkerSettings(**({"restart_backoff": 0, "restart_backoff_max": 0} | settings)),
            block_tokens=BLOCK_TOKENS,
        )
        self.accounts = Accounts(clock) if accounts is None else accounts
        self.renderer = ScriptedRenderer()
        self._numbers = count()
        self.pipeline = Pipeline(
            CARD,
            Reading(
                cast("Renderer", self.renderer),
                lambda renderer, prompt: cast("AnswerParser", ScriptedParser(renderer, prompt, parser_fault)),
                Stabiliser(select_rules({"attribution"})),
            ),
            self.router,
            self.fleet,
            self.accounts,
            Retention(load_policy("coding-agent"), clock=clock),
            limits,
            clock,
        )

    async def __aenter__(self) -> ScriptedBox:
        await self.fleet.start(lambda: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fleet.stop()
        self.check_integrity()

    def check_integrity(self) -> None:
        self.pipeline.dispatcher.check_integrity()
        self.router.check_integrity()
        self.index.check_integrity()
        for member in self.fleet.members.values():
            member.mirror.check_integrity()

    async def ask(self, request: Conversation | None = None) -> list[Event]:
        prepared = await self.pipeline.prepare(request or conversation(), f"r{next(self._numbers)}")
        return [event async for event in prepared.events()]


def conversation(text: str = "hello", **fields: Any) -> Conversation:
    return Conversation(**({"model": CARD.id, "messages": (Message(Role.USER, (Text(text),)),)} | fields))


def answer_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def refused_start(worker_id: int = 0) -> EngineStartError:
    return EngineStartError(f"worker {worker_id} did not start: no memory")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0)
    assert condition()
