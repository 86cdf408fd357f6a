"""A real HTTP server, real sockets, a real warden; scripted workers in the place of engines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from appliance import supervisor as module
from appliance.box import Phase, RunningBox
from appliance.cache.policy_source import load_policy
from appliance.caretaker import Caretaker
from appliance.control import Control
from appliance.endpoint import bind_tcp
from appliance.errors import AlreadyRunning, EngineStartError, InvalidRequest, NotReady, StartError
from appliance.generation import Delta, Event
from appliance.paths import Folders
from appliance.runtime import Runtime
from appliance.settings import Settings
from appliance.supervisor import Supervisor
from tests.unit.scripted_worker import ScriptedBox, ScriptedWorker, conversation, refused_start, steps_of, until

HELLO = steps_of(["Hel", "lo"])


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """A supervisor sets variables of its process."""
    with mock.patch.dict(os.environ):
        yield


class Assembly:
    """In the place of `appliance.assembly`: real parts over scripted workers."""

    def __init__(self, *workers: ScriptedWorker) -> None:
        self.workers = workers
        self.fault: Exception | None = None
        self.has_policy = False

    def prepare(self, _settings: Settings, _folders: Folders, _model: object) -> None:
        if self.fault is not None:
            raise self.fault

    def assemble(self, _settings: Settings, _model: object, _workshop: None, box: RunningBox) -> Any:
        parts = ScriptedBox(*self.workers, accounts=box.accounts)
        retention, caretaker = parts.pipeline.retention, None
        if self.has_policy and retention is not None:
            caretaker = Caretaker(retention, (), box.accounts.evictions)
        return SimpleNamespace(fleet=parts.fleet, pipeline=parts.pipeline, caretaker=caretaker, arena=None, disk=None)


class Life:
    """One supervisor and what it said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **server: Any) -> None:
        model = folder / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text("{}")
        self.worker = ScriptedWorker(0, HELLO)
        self.assembly = Assembly(self.worker)
        monkeypatch.setattr(module, "import_module", lambda _name: self.assembly)
        self.folders = Folders(folder / "data", folder / "cache", folder / "run")
        self.reports: list[str] = []
        self.signals: list[signal.Signals] = []
        self.box: RunningBox | None = None
        self.running = asyncio.Event()
        self.supervisor = Supervisor(
            Settings.model_validate({"model": {"name": str(model)}, "server": {"port": 0} | server}),
            self.folders,
            on_running=self._on_running,
            report=self.reports.append,
        )

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.folders.runtime)

    def _on_running(self, box: RunningBox) -> None:
        self.box = box
        self.running.set()

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        signal.raise_signal(number)

    async def get(self, route: str) -> Any:
        return await asyncio.to_thread(Control(self.runtime.socket).get, route)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[RunningBox]:
        """A running box, told to stop at the end."""
        run = asyncio.create_task(self.supervisor.run())
        async with asyncio.timeout(10):
            await asyncio.wait({run, asyncio.create_task(self.running.wait())}, return_when=asyncio.FIRST_COMPLETED)
            assert self.box is not None
            try:
                yield self.box
            finally:
                if not self.signals:
                    self.signal(signal.SIGTERM)
                await run

    def check_nothing_is_left(self) -> None:
        runtime = self.runtime
        assert not runtime.held()
        assert (runtime.read(), runtime.socket.exists()) == (None, False)
        assert not self.worker.alive
        assert self.supervisor._warden.pid is None


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(tmp_path, monkeypatch)


async def test_a_box_goes_through_its_phases_and_answers_from_the_first_to_the_last(life: Life) -> None:
    gate = asyncio.Event()
    life.worker.starts.append(gate)
    run = asyncio.create_task(life.supervisor.run())
    await until(lambda: life.worker.num_starts == 1)
    status = await life.get("/box/v1/status")
    assert (status["phase"], [worker["phase"] for worker in status["workers"]]) == ("startup", ["starting"])
    assert status["activity"].startswith("loading 1 worker(s)")

    gate.set()
    await life.running.wait()
    status = await life.get("/box/v1/status")
    assert (status["phase"], status["activity"]) == ("running", None)
    described = life.runtime.read()
    assert described is not None
    assert (described.pid, described.endpoint, described.model) == (os.getpid(), status["endpoint"], "model")
    assert life.runtime.held()
    box = life.box
    assert box is not None
    await until(lambda: box.status().latency.loop_lag_max_ms is not None)

    life.signal(signal.SIGTERM)
    await run
    assert box.phase is Phase.STOPPED
    assert life.reports[-1].startswith("draining: 0 request(s)")
    life.check_nothing_is_left()


async def test_what_was_served_before_a_restart_can_be_replayed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def life() -> Life:
        found = Life(tmp_path, monkeypatch)
        found.assembly.has_policy = True
        return found

    async with life().up() as box:
        with pytest.raises(InvalidRequest, match="no request has ended yet"):
            box.whatif().start(load_policy("chat"), load_policy("coding-agent"), 60.0, "me")
        assert await answer(box) == "Hello"
    async with life().up() as box:
        job = box.whatif().start(load_policy("chat"), load_policy("coding-agent"), 7200.0, "me")
        assert (await box.whatif().cancel(job.id)).state == "cancelled"


async def test_a_drain_waits_for_the_running_request(life: Life) -> None:
    gate = asyncio.Event()
    life.worker.scripts.appendleft([HELLO[0], gate, HELLO[1]])
    async with life.up() as box:
        answering = asyncio.create_task(answer(box))
        await until(lambda: life.worker.num_open == 1)
        life.signal(signal.SIGTERM)
        await until(lambda: box.phase is Phase.DRAINING)
        assert (await life.get("/box/v1/status"))["phase"] == "draining"
        gate.set()
        assert await answering == "Hello"
    life.check_nothing_is_left()


async def test_a_second_signal_ends_the_drain_at_once(life: Life) -> None:
    life.worker.scripts.appendleft([HELLO[0], asyncio.Event()])
    async with life.up() as box:
        answering = asyncio.create_task(answer(box))
        await until(lambda: life.worker.num_open == 1)
        life.signal(signal.SIGTERM)
        await until(lambda: box.phase is Phase.DRAINING)
        life.signal(signal.SIGINT)
    await asyncio.wait([answering])
    assert answering.exception() is not None
    life.check_nothing_is_left()


async def test_a_drain_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path, monkeypatch, drain_timeout=0.01)
    life.worker.scripts.appendleft([HELLO[0], asyncio.Event()])
    async with life.up() as box:
        answering = asyncio.create_task(answer(box))
        await until(lambda: life.worker.num_open == 1)
        life.signal(signal.SIGTERM)
    await asyncio.wait([answering])
    assert answering.exception() is not None
    life.check_nothing_is_left()


async def test_who_still_waits_for_a_worker_when_the_drain_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path, monkeypatch, drain_timeout=0.01)
    life.worker.seats = 1
    life.worker.scripts.appendleft([HELLO[0], asyncio.Event()])
    async with life.up() as box:
        running = asyncio.create_task(answer(box))
        await until(lambda: life.worker.num_open == 1)
        waiting = asyncio.create_task(answer(box))
        await until(lambda: box.status().queue.waiting == 1)
        life.signal(signal.SIGTERM)
    await asyncio.wait([running, waiting])
    error = waiting.exception()
    assert isinstance(error, NotReady)
    assert "shutting down" in str(error)
    life.check_nothing_is_left()


async def test_a_signal_while_engines_load_cancels_the_start(life: Life) -> None:
    life.worker.starts.append(asyncio.Event())
    run = asyncio.create_task(life.supervisor.run())
    await until(lambda: life.worker.num_starts == 1)
    life.signal(signal.SIGINT)
    await run
    assert not life.running.is_set()
    life.check_nothing_is_left()


async def test_an_engine_that_does_not_start_ends_the_box(life: Life) -> None:
    life.worker.starts.append(refused_start())
    with pytest.raises(EngineStartError, match="no memory"):
        await life.supervisor.run()
    life.check_nothing_is_left()


@pytest.mark.parametrize("fault", [StartError("this machine is too small"), RuntimeError("a bug")])
async def test_whatever_ends_the_start_the_runtime_folder_is_released(life: Life, fault: Exception) -> None:
    life.assembly.fault = fault
    with pytest.raises(type(fault), match=str(fault)):
        await life.supervisor.run()
    life.check_nothing_is_left()


async def test_a_taken_port_is_known_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        life = Life(tmp_path, monkeypatch, port=holder.getsockname()[1])
        with pytest.raises(StartError, match="in use"):
            await life.supervisor.run()
    assert (life.worker.num_starts, life.reports) == (0, [])
    life.check_nothing_is_left()


async def test_a_runtime_folder_too_long_for_a_socket_leaves_no_port_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[socket.socket] = []

    def bind(host: str, port: int) -> socket.socket:
        bound.append(bind_tcp(host, port))
        return bound[-1]

    monkeypatch.setattr(module, "bind_tcp", bind)
    life = Life(tmp_path, monkeypatch)
    life.supervisor.runtime = Runtime(tmp_path / ("long" * 30))
    with pytest.raises(StartError, match="too long for a socket"):
        await life.supervisor.run()
    assert [listener.fileno() for listener in bound] == [-1]


async def test_a_second_box_in_the_same_folder_is_refused_and_the_first_goes_on(
    life: Life, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life.up():
        second = Supervisor(life.supervisor.settings, life.folders)
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
            await second.run()
        assert (await life.get("/box/v1/status"))["phase"] == "running"
    life.check_nothing_is_left()


async def test_shared_memory_that_a_killed_box_left_is_removed_and_reported(life: Life, tmp_path: Path) -> None:
    left = tmp_path / "psm_left"
    left.touch()
    life.folders.runtime.mkdir()
    (life.folders.runtime / "shared-memory.json").write_text(json.dumps([str(left)]))
    async with life.up():
        assert life.reports[0] == f"removed {left}, left by a box that was killed"
    assert not left.exists()


async def test_signals_mean_what_they_did_once_the_box_has_ended(life: Life) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with life.up():
        pass
    assert signal.getsignal(signal.SIGTERM) == before


async def answer(box: RunningBox) -> str:
    events: list[Event] = [event async for event in (await box.prepare(conversation(), "r")).events()]
    return "".join(event.text for event in events if isinstance(event, Delta))
