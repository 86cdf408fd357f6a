from __future__ import annotations

import asyncio
from array import array

import pytest

from appliance.api.problems import NothingOfThisName
from appliance.audit import Audit
from appliance.errors import NotReady
from appliance.fleet import WorkerPhase
from appliance.router.events import Batch, BlockStored
from appliance.worker_desk import WorkerDesk
from tests.clock import Clock
from tests.unit.scripted_worker import BLOCK_TOKENS, ScriptedBox, ScriptedWorker, conversation, until


class Desk(WorkerDesk):
    def __init__(self, box: ScriptedBox) -> None:
        self.told = Audit()
        super().__init__(box.fleet, box.router, self.told, Clock(5.0), patience_seconds=0.01)


def hold(box: ScriptedBox, worker: ScriptedWorker, num_blocks: int, **sessions: int) -> None:
    hashes = array("Q", range(1, num_blocks + 1))
    tokens = array("I", range(num_blocks * BLOCK_TOKENS))
    stored = BlockStored(hashes, None, tokens, BLOCK_TOKENS)
    box.fleet.members[worker.plan.id].mirror.apply(Batch(0.0, (stored,)))
    worker.owned = sessions


async def test_a_dry_run_tells_what_is_lost_and_what_goes_on_and_does_nothing() -> None:
    first, second = ScriptedWorker(0, [asyncio.Event()]), ScriptedWorker(1)
    async with ScriptedBox(first, second) as box:
        hold(box, first, 3, a=2, b=1, c=0)
        asking = asyncio.create_task(box.ask(conversation("hello")))
        await until(lambda: first.num_open == 1)
        answer = await Desk(box).restart(0, "ana", dry_run=True)
        impact = answer.impact
        assert (impact.requests, impact.tokens, impact.sessions) == (1, 3 * BLOCK_TOKENS, 2)
        paces = box.router.paces
        assert impact.prefill_seconds == paces.prefill_seconds(2 * BLOCK_TOKENS) + paces.prefill_seconds(BLOCK_TOKENS)
        assert impact.text.startswith(
            "1 request goes on at another worker; 6 cached tokens of 2 sessions are lost on it"
        )
        assert (answer.effect, first.num_starts) == (None, 1)
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_restart_is_done_and_audited() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        desk = Desk(box)
        answer = await desk.restart(0, "ana", dry_run=False)
        assert answer.impact.text == "no request runs on it; 0 cached tokens of 0 sessions are lost on it"
        await until(lambda: worker.num_starts == 2)
        (action,) = desk.told.newest(9)
        assert (action.at, action.who, action.verb, action.target) == (5.0, "ana", "worker restart", "worker 0")
        assert action.details == {"impact": answer.impact.text}
        assert action.effect == answer.effect


async def test_a_hung_engine_keeps_nobody_waiting_and_what_it_has_is_unknown() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        hold(box, worker, 2, a=2)
        worker.gate = asyncio.Event()
        impact = (await Desk(box).restart(0, "ana", dry_run=True)).impact
        assert (impact.tokens, impact.sessions, impact.prefill_seconds) == (2 * BLOCK_TOKENS, None, None)
        assert impact.text == "no request runs on it; 4 cached tokens are lost on it"


async def test_what_is_not_there_or_on_its_way_cannot_be_restarted() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        desk = Desk(box)
        with pytest.raises(NothingOfThisName, match="no worker 3 is in this box; there are 0"):
            await desk.restart(3, "ana", dry_run=True)
        worker.starts.append(asyncio.Event())
        worker.end()
        await until(lambda: box.fleet.members[0].phase is WorkerPhase.RESTARTING)
        with pytest.raises(NotReady, match="worker 0 is restarting"):
            await desk.restart(0, "ana", dry_run=False)
        assert desk.told.newest(9) == []
