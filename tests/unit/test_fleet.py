from __future__ import annotations

import asyncio
import logging
from array import array
from itertools import pairwise

import pytest

from appliance.errors import EngineStartError, NotReady
from appliance.fleet import WorkerPhase
from appliance.router.events import Batch, BlockStored
from appliance.router.hashing import hash_blocks
from tests.unit.scripted_worker import BLOCK_TOKENS, ScriptedBox, ScriptedWorker, refused_start, until

NO_WORKER: tuple[int, ...] = ()


def accepting(box: ScriptedBox) -> tuple[int, ...]:
    return tuple(status.worker for status in box.router.snapshot() if status.accepting)


def phases(box: ScriptedBox) -> list[WorkerPhase]:
    return [member.phase for member in box.fleet.members.values()]


def learn(box: ScriptedBox, worker_id: int) -> None:
    """The worker says that it holds a block."""
    stored = BlockStored(array("Q", [1]), None, array("I", range(BLOCK_TOKENS)), BLOCK_TOKENS)
    box.fleet.members[worker_id].mirror.apply(Batch(0.0, (stored,)))
    assert box.index.num_blocks(worker_id) == 1


def watchers(box: ScriptedBox) -> list[asyncio.Task[None]]:
    return [member.watcher for member in box.fleet.members.values() if member.watcher is not None]


def streams(box: ScriptedBox) -> list[asyncio.Task[None]]:
    return [member.stream for member in box.fleet.members.values() if member.stream is not None]


async def test_workers_start_side_by_side_and_each_is_a_candidate_from_when_it_is_up() -> None:
    workers, gates = [ScriptedWorker(0), ScriptedWorker(1)], [asyncio.Event(), asyncio.Event()]
    for worker, gate in zip(workers, gates, strict=True):
        worker.starts.append(gate)
    box = ScriptedBox(*workers)
    starting = asyncio.create_task(box.fleet.start(lambda: None))
    await until(lambda: all(worker.num_starts == 1 for worker in workers))
    assert (accepting(box), box.fleet.ready(), box.fleet.dead()) == (NO_WORKER, 0, frozenset({0, 1}))
    gates[1].set()
    await until(lambda: accepting(box) == (1,))
    assert phases(box) == [WorkerPhase.STARTING, WorkerPhase.RUNNING]
    assert not starting.done()
    gates[0].set()
    await starting
    assert (accepting(box), box.fleet.ready(), box.fleet.dead()) == ((0, 1), 2, frozenset())
    await box.fleet.stop()


async def test_an_engine_is_told_which_of_its_blocks_are_awaited_and_until_when() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        learn(box, 0)
        hashes = hash_blocks(range(2 * BLOCK_TOKENS), BLOCK_TOKENS)
        box.fleet.protect(0, "a", hashes)
        await until(lambda: worker.awaited == {"a": [1]})
        box.fleet.release(0, "a")
        box.fleet.release(0, "a")
        box.fleet.release(0, "never")
        await until(lambda: worker.awaited == {})
        box.fleet.protect(0, "none", hashes[1:])
        box.fleet.release(0, "none")
        await asyncio.sleep(0)
        assert worker.told_awaited == ["a"]


async def test_an_engine_that_dies_before_it_hears_who_waits_costs_nothing() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, restart_limit=0) as box:
        learn(box, 0)
        worker.end()
        box.fleet.protect(0, "a", hash_blocks(range(BLOCK_TOKENS), BLOCK_TOKENS))
        await until(lambda: not box.fleet._telling)
        assert (worker.awaited, box.fleet.kv_usage(0), box.fleet.ids()) == ({}, None, frozenset({0}))


async def test_one_start_that_fails_ends_all() -> None:
    up, failing, loading = (ScriptedWorker(number) for number in range(3))
    loop, abandoned = asyncio.get_running_loop(), asyncio.Event()

    def abandon() -> None:
        loop.call_soon_threadsafe(abandoned.set)

    failing.starts.append(refused_start(1))
    loading.starts.append(abandoned)
    box = ScriptedBox(up, failing, loading)
    with pytest.raises(EngineStartError, match="worker 1 did not start: no memory"):
        await box.fleet.start(abandon)
    assert abandoned.is_set()
    assert not any(worker.alive for worker in (up, failing, loading))
    assert phases(box) == [WorkerPhase.STOPPED] * 3
    assert (accepting(box), watchers(box)) == (NO_WORKER, [])
    assert all(stream.cancelled() for stream in streams(box))


async def test_a_cancelled_start_ends_all() -> None:
    up, loading = ScriptedWorker(0), ScriptedWorker(1)
    loading.starts.append(asyncio.Event())
    box = ScriptedBox(up, loading)
    abandonments: list[None] = []
    starting = asyncio.create_task(box.fleet.start(lambda: abandonments.append(None)))
    await until(lambda: accepting(box) == (0,))
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert (len(abandonments), up.alive, accepting(box)) == (1, False, NO_WORKER)


async def test_a_death_takes_the_worker_and_its_blocks_out_until_it_runs_again() -> None:
    first, second = ScriptedWorker(0), ScriptedWorker(1)
    async with ScriptedBox(first, second) as box:
        learn(box, 0)
        learn(box, 1)
        member, gate = box.fleet.members[0], asyncio.Event()
        first_stream = member.stream
        first.starts.append(gate)
        first.end()
        assert (box.fleet.ready(), box.fleet.dead()) == (1, frozenset({0}))
        await until(lambda: first.num_starts == 2)
        assert (member.phase, member.last_error, member.budget.total) == (
            WorkerPhase.RESTARTING,
            "its process ended",
            1,
        )
        assert accepting(box) == (1,)
        assert (box.index.num_blocks(0), box.index.num_blocks(1)) == (0, 1)
        gate.set()
        await until(lambda: accepting(box) == (0, 1))
        assert (member.phase, member.mirror.in_step) == (WorkerPhase.RUNNING, True)
        assert first_stream is not None
        assert first_stream.cancelled()
        assert member.stream is not first_stream


async def test_a_restart_that_fails_is_tried_again() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        worker.starts.extend([refused_start(), refused_start()])
        worker.end()
        await until(lambda: accepting(box) == (0,) and worker.alive)
        member = box.fleet.members[0]
        assert (worker.num_starts, member.budget.total) == (4, 3)
        assert member.last_error == "worker 0 did not start: no memory"


async def test_a_hung_worker_is_killed_and_started_again() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, watchdog_interval=0.001, watchdog_timeout=7) as box:
        gate = asyncio.Event()
        worker.starts.append(gate)
        worker.hangs = True
        await until(lambda: worker.num_starts == 2)
        assert (worker.num_kills, accepting(box)) == (1, NO_WORKER)
        assert box.fleet.members[0].last_error == "it did not answer for 7 s"
        worker.hangs = False
        gate.set()
        await until(lambda: accepting(box) == (0,))


async def test_a_worker_that_answers_is_left_alone() -> None:
    worker = ScriptedWorker(0)
    pings: list[float] = []

    async def ping(timeout_seconds: float) -> bool:
        pings.append(timeout_seconds)
        return True

    worker.ping = ping  # type: ignore[method-assign]  # to count what the watchdog asks
    async with ScriptedBox(worker, watchdog_interval=0.001, watchdog_timeout=7):
        await until(lambda: len(pings) >= 3)
        assert (worker.num_kills, worker.num_starts, set(pings)) == (0, 1, {7})


async def test_a_worker_with_its_restarts_used_up_stays_down_and_nobody_waits_for_it() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, restart_limit=2) as box:
        for _ in range(2):
            worker.end()
            assert await box.fleet.any_ready(60)
        learn(box, 0)
        worker.end()
        assert not await box.fleet.any_ready(60)
        await asyncio.wait(watchers(box))
        assert phases(box) == [WorkerPhase.FAILED]
        assert (worker.num_starts, accepting(box), box.index.num_blocks(0)) == (3, NO_WORKER, 0)
        await box.fleet.stop()
        assert phases(box) == [WorkerPhase.FAILED]


async def test_one_failed_worker_does_not_keep_others_from_serving() -> None:
    failed, other = ScriptedWorker(0), ScriptedWorker(1)
    async with ScriptedBox(failed, other, restart_limit=0) as box:
        failed.end()
        await until(lambda: phases(box)[0] is WorkerPhase.FAILED)
        assert (await box.fleet.any_ready(60), accepting(box)) == (True, (1,))


async def test_waiting_for_a_worker_ends_when_time_is_up() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        worker.starts.append(asyncio.Event())
        worker.end()
        assert not await box.fleet.any_ready(0.001)


async def test_all_who_wait_are_told_when_a_worker_comes_up() -> None:
    worker, gate = ScriptedWorker(0), asyncio.Event()
    async with ScriptedBox(worker) as box:
        worker.starts.append(gate)
        worker.end()
        waits = [asyncio.create_task(box.fleet.any_ready(60)) for _ in range(3)]
        await until(lambda: worker.num_starts == 2)
        gate.set()
        assert await asyncio.gather(*waits) == [True] * 3


async def test_stopping_ends_watchers_streams_and_blocks_and_may_be_asked_twice() -> None:
    workers = [ScriptedWorker(0), ScriptedWorker(1)]
    async with ScriptedBox(*workers) as box:
        learn(box, 0)
        learn(box, 1)
        for _ in range(2):
            await box.fleet.stop()
            assert phases(box) == [WorkerPhase.STOPPED] * 2
            assert all(task.cancelled() for task in watchers(box) + streams(box))
            assert [box.index.num_blocks(number) for number in (0, 1)] == [0, 0]
            assert (accepting(box), any(worker.alive for worker in workers)) == (NO_WORKER, False)


async def test_stopping_in_the_middle_of_a_restart_sends_away_who_waits_for_it() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        worker.starts.append(asyncio.Event())
        worker.end()
        await until(lambda: worker.num_starts == 2)
        waiting = asyncio.create_task(box.fleet.any_ready(60))
        await asyncio.sleep(0)
        await box.fleet.stop()
        assert not await waiting
        assert phases(box) == [WorkerPhase.STOPPED]


async def test_a_watcher_that_ends_by_a_fault_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        worker.starts.append(OSError("the log cannot be written"))
        with caplog.at_level(logging.ERROR, "dynamo_box.fleet"):
            worker.end()
            await asyncio.wait(watchers(box))
            await until(lambda: "watcher of worker 0 ended" in caplog.text)


async def test_every_change_of_a_workers_phase_is_told_once() -> None:
    worker, told = ScriptedWorker(0), list[WorkerPhase]()
    box = ScriptedBox(worker)
    box.fleet.on_phase = lambda member: told.append(member.phase)
    async with box:
        worker.end()
        await until(lambda: worker.num_starts == 2 and box.fleet.ready() == 1)
    running, stopped = WorkerPhase.RUNNING, WorkerPhase.STOPPED
    restarting = [phase for phase in told if phase not in (running, stopped)]
    assert set(restarting) == {WorkerPhase.RESTARTING}
    assert all(one is not other for one, other in pairwise(told))


async def test_a_restart_that_somebody_asked_for_waits_for_nothing_and_spends_nothing() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, restart_limit=1, restart_backoff=60, restart_backoff_max=60) as box:
        member, gate = box.fleet.members[0], asyncio.Event()
        for number in (2, 3):
            worker.starts.append(gate)
            gate.clear()
            box.fleet.restart(0, "ana asked for it")
            await until(lambda number=number: worker.num_starts == number)  # type: ignore[misc]
            assert (member.phase, member.last_error) == (WorkerPhase.RESTARTING, "ana asked for it")
            assert accepting(box) == NO_WORKER
            with pytest.raises(NotReady, match="worker 0 is restarting"):
                box.fleet.restart(0, "bo asked for it")
            gate.set()
            await until(lambda: accepting(box) == (0,) and member.last_error is None)
        assert (member.budget.total, member.budget.take()) == (2, 60)


async def test_a_worker_that_was_given_up_is_tried_again_when_somebody_asks() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, restart_limit=0) as box:
        worker.end()
        await until(lambda: phases(box) == [WorkerPhase.FAILED])
        worker.starts.append(refused_start())
        box.fleet.restart(0, "ana asked for it")
        with pytest.raises(NotReady):
            box.fleet.restart(0, "ana asked for it")
        await until(lambda: phases(box) == [WorkerPhase.FAILED])
        assert box.fleet.members[0].last_error == "worker 0 did not start: no memory"
        box.fleet.restart(0, "ana asked for it")
        await until(lambda: accepting(box) == (0,))
