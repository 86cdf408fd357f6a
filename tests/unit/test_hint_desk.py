from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from appliance.api.hint_views import HintRequest
from appliance.api.problems import NothingOfThisName
from appliance.audit import Audit
from appliance.box_events import Event, HintChanged
from appliance.cache.prompt_read import Brought
from appliance.cache.session_state import SessionState
from appliance.cache.tier import Tier
from appliance.caretaker import Caretaker
from appliance.conversation import Identity
from appliance.errors import InvalidRequest
from appliance.eviction_log import EvictionLog
from appliance.hint_book import MOST_OF_A_SESSION
from appliance.hint_desk import HintDesk
from appliance.last_prompts import LastPrompt
from tests.clock import Clock
from tests.unit.scripted_worker import ScriptedBox, ScriptedWorker, conversation, steps_of, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.engine.worker import Worker

STATS = {"free": 0, "awaited": 0, "by_priority": {}, "leads_spared": 0, "held_back": 0, "held_back_in_vain": 0}
HELLO = steps_of(["Hi"], cached_tokens=2)


class Box:
    """A desk over scripted workers whose engines know sessions a, b and c."""

    def __init__(self, *workers: ScriptedWorker) -> None:
        self.clock, self.told = Clock(1000.0), list[Event]()
        self.parts = ScriptedBox(*workers, clock=self.clock)
        retention = self.parts.pipeline.retention
        assert retention is not None
        self.retention = retention
        retention.hints._clock = self.clock
        self.caretaker = Caretaker(
            retention, cast("Sequence[Worker]", workers), EvictionLog(), clock=self.clock, wall_clock=self.clock
        )
        self.caretaker.emit = self.told.append
        self.audit = Audit()
        numbers = iter(range(1, 100))
        self.desk = HintDesk(
            self.parts.pipeline,
            self.parts.fleet,
            self.caretaker,
            self.audit,
            self.told.append,
            self.clock,
            lambda: f"h{next(numbers)}",
        )
        self.caretaker.on_expired = self.desk.expired

    def state(self, name: str) -> SessionState | None:
        session = self.retention.session(name)
        return None if session is None else session.state

    async def ask(self, session: str, text: str) -> None:
        await self.parts.ask(conversation(text, identity=Identity(session)))
        await until(lambda: self.parts.pipeline.last_prompts.get(session) is not None)


@asynccontextmanager
async def serving(*workers: ScriptedWorker) -> AsyncIterator[Box]:
    for worker in workers:
        worker.stats = STATS
        worker.owned = {"a": 4, "b": 3, "c": 2}
    box = Box(*workers)
    async with box.parts:
        yield box


def scripted() -> ScriptedWorker:
    return ScriptedWorker(0, *[HELLO] * 9)


async def test_a_pin_reaches_the_engines_at_once_and_is_listed_until_it_expires() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        worker.replans.clear()
        answer = await box.desk.ask(HintRequest("pin", "a", expires_in=60.0, by="me"), dry_run=False)
        ((name, payload),) = worker.replans
        first = payload["directives"][0]
        assert (name, first["priority"], first["duration"], first["rule"]) == ("a", 100, 60.0, "pin")
        assert answer.effect == "8 tokens on worker 0 are planned by it now"
        assert answer.hint is not None
        assert (answer.hint.id, answer.hint.remaining_seconds, answer.hint.by) == ("h1", 60.0, "me")
        assert box.desk.active().hints == [answer.hint]
        await box.ask("a", "hello again")
        await until(lambda: box.retention.hints.served("h1").turns == 1)
        box.clock.seconds += 60
        worker.replans.clear()
        box.caretaker.tick()
        await box.caretaker.settled()
        assert box.desk.active().hints == []
        assert worker.replans[-1][1]["directives"][0]["rule"] != "pin"
    came = "0 tokens kept, 1 turn read 2 of 11 tokens from cache"
    assert [(each.change, each.session, each.effect) for each in box.told if isinstance(each, HintChanged)] == [
        ("given", "a", answer.effect),
        ("expired", "a", came),
    ]
    last = box.audit.newest(1)[0]
    assert (last.who, last.verb, last.target, last.effect) == ("box", "hint pin expired", "a", came)


async def test_the_next_prompts_of_a_pinned_session_are_pinned_too() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        await box.desk.ask(HintRequest("pin", "a", expires_in=60.0), dry_run=False)
        await box.ask("a", "hello again")
        payload = worker.calls[-1].retention
    assert payload is not None
    assert payload["directives"][0]["rule"] == "pin"


async def test_a_dry_run_tells_the_impact_and_changes_nothing() -> None:
    worker = scripted()
    async with serving(worker) as box:
        for session in "abc":
            await box.ask(session, "hello")
        worker.replans.clear()
        box.told.clear()
        answer = await box.desk.ask(HintRequest("pin", "a"), dry_run=True)
        assert (answer.hint, answer.effect, worker.replans, box.told) == (None, None, [], [])
        assert box.desk.active().hints == []
        assert box.audit.newest(9) == []


async def test_the_impact_names_whose_blocks_go_sooner_and_what_that_costs() -> None:
    worker = scripted()
    async with serving(worker) as box:
        for session in "abc":
            await box.ask(session, "hello")
        # As if the prompt were forgotten: then what the engine says that the session used last counts.
        box.parts.pipeline.last_prompts._drop("a")
        impact = (await box.desk.ask(HintRequest("pin", "a"), dry_run=True)).impact
        # Its prompt has five tokens: three blocks of two, of which b and c lose theirs.
        assert (impact.tokens, impact.resident_tokens) == (5, {"0": 8})
        assert impact.displaced_tokens == 6
        seconds = box.parts.router.paces.prefill_seconds(6)
        assert impact.prefill_seconds == pytest.approx(seconds)
        assert impact.text.startswith("keeps 5 tokens of a; 6 tokens of 1 session go sooner instead")


async def test_where_no_engine_answers_nothing_is_known() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        worker.alive = False
        impact = (await box.desk.ask(HintRequest("release", "a"), dry_run=True)).impact
        worker.alive = True
    assert (impact.tokens, impact.resident_tokens, impact.prefill_seconds) == (None, None, None)


async def test_a_release_tells_what_computing_it_again_takes() -> None:
    async with serving(scripted()) as box:
        await box.ask("a", "hello")
        box.parts.pipeline.last_prompts._drop("a")
        answer = await box.desk.ask(HintRequest("release", "a", token_start=2), dry_run=False)
    assert answer.impact.tokens == 3
    assert answer.impact.displaced_tokens is None
    assert answer.hint is not None
    assert (answer.hint.token_start, answer.hint.priority) == (2, 0)


async def test_a_priority_orders_the_queue_as_well() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        await box.desk.ask(HintRequest("priority", "a", priority=7), dry_run=False)
        await box.ask("a", "hello")
        assert [call.priority for call in worker.calls] == [0, -7]
        box.clock.seconds += 7200
        await box.ask("a", "hello")
        assert worker.calls[-1].priority == 0


async def test_a_finished_session_is_planned_as_one_and_may_come_back() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        answer = await box.desk.ask(HintRequest("turn_finished", "a"), dry_run=False)
        assert box.state("a") is SessionState.FINISHED
        assert worker.replans[-1][1]["directives"][0]["priority"] == 0
        assert answer.hint is None
        await box.ask("a", "hello")
        assert box.state("a") is SessionState.IDLE


async def test_a_prefetch_reads_the_last_prompt_again_as_nobody() -> None:
    worker = scripted()
    async with serving(worker) as box:
        await box.ask("a", "hello")
        answer = await box.desk.ask(HintRequest("prefetch", "a", worker=0), dry_run=False)
        call = worker.calls[-1]
        assert (call.token_ids, call.max_tokens, call.session_id) == (worker.calls[0].token_ids, 1, None)
        assert call.priority > 0
    assert answer.effect == "read into the cache of worker 0: 3 tokens computed, 2 were there"


async def test_what_cannot_be_done_is_told() -> None:
    async with serving(scripted()) as box:
        await box.ask("session", "hello")
        with pytest.raises(NothingOfThisName, match="no session 'sessoin' is known") as caught:
            await box.desk.ask(HintRequest("pin", "sessoin"), dry_run=True)
        assert caught.value.hint == "Did you mean session?"
        box.parts.pipeline.last_prompts._drop("session")
        with pytest.raises(NothingOfThisName, match="is not remembered any more"):
            await box.desk.ask(HintRequest("prefetch", "session"), dry_run=False)
        with pytest.raises(NothingOfThisName, match="no hint 'h9' is active"):
            await box.desk.withdraw("h9", "me")
        for _ in range(MOST_OF_A_SESSION):
            await box.desk.ask(HintRequest("pin", "session"), dry_run=False)
        with pytest.raises(InvalidRequest, match="has 16 hints"):
            await box.desk.ask(HintRequest("pin", "session"), dry_run=False)


async def test_what_was_done_and_taken_back_is_audited() -> None:
    async with serving(scripted()) as box:
        await box.ask("a", "hello")
        await box.desk.ask(HintRequest("pin", "a", by="me"), dry_run=False)
        withdrawn = await box.desk.withdraw("h1", "you")
        assert withdrawn.effect == "0 tokens kept, no turn since; 8 tokens on worker 0 are planned without it"
        last, first = box.audit.newest(9)
    assert (first.who, first.verb, first.target) == ("me", "hint pin", "a")
    assert first.details["after"]["expires_at"] == 4600.0
    assert (last.who, last.verb, last.details["before"]["id"]) == ("you", "hint withdraw", "h1")


async def test_a_prompt_is_brought_up_from_lower_tiers_without_an_engine() -> None:
    worker = scripted()
    asked: list[list[int]] = []

    async def warm(prompt: LastPrompt) -> Brought:
        asked.append(prompt.tokens.tolist())
        brought = Brought()
        brought.add(bytes([Tier.HOST, Tier.DISK, Tier.DISK, Tier.REMOTE]))
        return brought

    async with serving(worker) as box:
        await box.ask("a", "hello")
        with pytest.raises(InvalidRequest, match="no tier below the host tier"):
            await box.desk.ask(HintRequest("warm", "a"), dry_run=True)
        box.parts.pipeline.warm = warm
        weighed = await box.desk.ask(HintRequest("warm", "a"), dry_run=True)
        assert weighed.impact.text == (
            "brings up what the host tier lacks of 0 tokens of a; a GPU or the host tier has 0 of them already"
        )
        assert not asked
        calls = len(worker.calls)
        answer = await box.desk.ask(HintRequest("warm", "a", by="me"), dry_run=False)
        assert (
            answer.effect == "4 tokens from the disk and 2 tokens from the remote store brought up into the host tier"
        )
        assert (answer.hint, len(worker.calls), len(asked[0])) == (None, calls, 5)
        assert box.audit.newest(1)[0].verb == "hint warm"


async def test_where_all_is_up_already_nothing_has_to_be_brought() -> None:
    async with serving(scripted()) as box:
        await box.ask("a", "hello")

        async def warm(_prompt: LastPrompt) -> Brought:
            return Brought()

        box.parts.pipeline.warm = warm
        assert (await box.desk.ask(HintRequest("warm", "a"), dry_run=False)).effect == "nothing had to be brought up"
