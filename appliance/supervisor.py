"""The box's life in named phases: `startup → running → draining → stopped`.

One asyncio loop holds the HTTP server, the router and one client per engine; engines and the warden are children.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from pydantic import SecretStr

from appliance.api.app import create_app
from appliance.api.responses_memory import MemoryStore
from appliance.api.seal import Seal, load_key
from appliance.box import Phase, RunningBox
from appliance.endpoint import bind_tcp, bind_unix, url_of
from appliance.paths import Folders
from appliance.process_tree import MARK, end_engines, members, shared_memory_of
from appliance.runtime import BoxFile, Runtime
from appliance.settings import Settings, StateSettings
from appliance.warden import Warden

if TYPE_CHECKING:
    from appliance.access_log import AccessLog
    from appliance.caretaker import Caretaker
    from appliance.chronicle import Chronicle
    from appliance.disk_tier import DiskTier
    from appliance.fleet import Fleet
    from appliance.host_arena import HostArena
    from appliance.pipeline import Pipeline

log = logging.getLogger("dynamo_box")

PROGRESS_SECONDS = 2.0
# A second signal ends at once; so does this, should an engine not let go.
STOP_SECONDS = 15.0


class Supervisor:
    """One box, run once. `run` returns when it has stopped."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        *,
        log_file: Path | None = None,
        on_running: Callable[[RunningBox], None] = lambda _box: None,
        report: Callable[[str], None] = log.info,
    ) -> None:
        self.settings = settings
        self.folders = folders
        self.runtime = Runtime(folders.runtime)
        self.tree = uuid.uuid4().hex
        self._log_file = log_file
        self._on_running = on_running
        self._report = report
        self._warden = Warden(self.tree)
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._fleet: Fleet | None = None
        self._server: _Server | None = None
        self._caretaker: Caretaker | None = None
        self._arena: HostArena | None = None
        self._disk: DiskTier | None = None
        self._chronicle: Chronicle | None = None
        self._store = MemoryStore()

    async def run(self) -> None:
        """Serve until a signal asks to stop. Raises `StartError` when the box cannot start; nothing is left then."""
        self.runtime.acquire()
        try:
            for path in self.runtime.clean():
                self._report(f"removed {path}, left by a box that was killed")
            with self._signals():
                await self._run()
        finally:
            self.runtime.release()

    async def _run(self) -> None:
        with (
            bind_tcp(self.settings.server.host, self.settings.server.port) as tcp,
            bind_unix(self.runtime.socket) as unix,
        ):
            await self._serve_until_stop(tcp, unix)

    async def _serve_until_stop(self, tcp: socket.socket, unix: socket.socket) -> None:
        model = self.settings.model
        box = RunningBox(url_of(tcp, self.settings.server.host), model.public_name, model.name)
        os.environ[MARK] = self.tree
        await self._warden.start()
        try:
            await self._remember(box)
        except BaseException:
            await self._warden.dismiss()
            raise
        serving = asyncio.create_task(self._serve(box, [tcp, unix]), name="http")
        watching = [asyncio.create_task(self._warden.watch(), name="warden")]
        try:
            await self._until_stop(self._startup(box))
            watching.append(asyncio.create_task(box.loop_lag.run(), name="loop lag"))
            await self._stop_asked.wait()
            await self._drain(box)
        finally:
            await self._stopped(box, serving, watching)

    async def _remember(self, box: RunningBox) -> None:
        """Before anybody is answered: what clients have stored is there from the first answer on."""
        chronicle = self._chronicle = await asyncio.to_thread(_chronicle, self.settings.state, self.folders)
        for words in await chronicle.open(self._store):
            log.warning("%s", words)
        box.keep(chronicle)

    async def _startup(self, box: RunningBox) -> None:
        """Everything between an open socket and the first request."""
        from appliance.engine.environment import prepare_process
        from appliance.engine.model import context_warning, find_model

        prepare_process(self.settings.log.level, self.settings.workers.start_timeout)
        if warning := context_warning(self.settings.model):
            log.warning(warning)
        self._write_box_file(box)

        def progress(text: str, share: float | None) -> None:
            box.activity = text
            self._report(text if share is None else f"{text} ({share:.0%})")

        model = await asyncio.to_thread(find_model, self.settings.model, self.folders.cache / "models", progress)
        progress("importing vLLM, reading the model's configuration", None)
        assembly = await asyncio.to_thread(import_module, "appliance.assembly")
        workshop = await asyncio.to_thread(assembly.prepare, self.settings, self.folders, model)
        parts = assembly.assemble(self.settings, model, workshop, box)
        self._fleet, self._arena, self._disk = parts.fleet, parts.arena, parts.disk
        box.attach(parts.fleet)
        parts.fleet.on_start = self._remember_memory
        _, record = await asyncio.gather(self._start_engines(box, parts.fleet), self._accesses(parts.pipeline))
        if self._arena is not None:
            self._arena.start()
        if self._disk is not None:
            self._disk.start()
        keep_what_stands()
        self._caretaker = parts.caretaker
        if self._caretaker is not None:
            self._caretaker.start()
        box.open(parts.pipeline, parts.fleet, parts.caretaker, parts.arena, parts.disk, record)
        if self._chronicle is not None:
            from appliance.view_watch import looks_at

            maps: list[int | str] = sorted(parts.fleet.members)
            maps += ["host"] if parts.arena is not None else []
            maps += ["disk"] if parts.disk is not None and parts.disk.has_disk else []
            looks = looks_at(box, maps)
            self._chronicle.watch(lambda: box.status().model_dump(), box.accounts.evictions, looks)
        self._on_running(box)

    async def _accesses(self, pipeline: Pipeline) -> AccessLog:
        """A record of them, with those from before this start: reading 32,768 takes five seconds."""
        from appliance.access_log import AccessLog

        record = AccessLog(pipeline.router.block_tokens)
        if self._chronicle is not None:
            self._chronicle.keep_decisions(pipeline.router.history, pipeline.router.clock)
            words = await self._chronicle.keep_accesses(record, pipeline.card.id, pipeline.clock)
            if words is not None:
                log.info("%s", words)
        return record

    def _remember_memory(self) -> None:
        """For the next start, should this box and its warden both die unheard."""
        self.runtime.remember_shared_memory(shared_memory_of([*members(self.tree), os.getpid()]))

    async def _start_engines(self, box: RunningBox, fleet: Fleet) -> None:
        began = time.monotonic()
        start = asyncio.create_task(fleet.start(lambda: end_engines(self.tree)))
        try:
            while not start.done():
                box.activity = f"loading {len(fleet.members)} worker(s), {time.monotonic() - began:.0f} s"
                self._report(box.activity)
                await asyncio.wait({start}, timeout=PROGRESS_SECONDS)
            await start
        except asyncio.CancelledError:
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            raise

    async def _until_stop(self, startup: Coroutine[None, None, None]) -> None:
        """Run the start-up; a signal meanwhile cancels it."""
        starting = asyncio.create_task(startup)
        stopping = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting

    async def _drain(self, box: RunningBox) -> None:
        """Refuse new requests and let the running ones finish, within the limit or until a second signal."""
        limit = self.settings.server.drain_timeout
        self._report(f"draining: {box.accounts.outcomes.active} request(s) running, at most {limit:g} s")
        drained = asyncio.create_task(box.drain())
        hurry = asyncio.create_task(self._stop_now.wait())
        await asyncio.wait({drained, hurry}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            log.warning("ending %d request(s) before they finished", box.accounts.outcomes.active)
        box.close()
        for task in (drained, hurry):
            task.cancel()

    async def _stopped(self, box: RunningBox, serving: asyncio.Task[None], watching: list[asyncio.Task[None]]) -> None:
        box.phase = Phase.STOPPED
        if self._server is not None:
            self._server.should_exit = True
        if self._caretaker is not None:
            await self._caretaker.stop()
        if self._fleet is not None:
            try:
                await asyncio.wait_for(self._fleet.stop(), STOP_SECONDS)
            except TimeoutError:
                log.warning("engines did not end within %g s and are killed", STOP_SECONDS)
        if self._disk is not None:
            await self._disk.stop()
        await asyncio.to_thread(end_engines, self.tree)
        if self._arena is not None:
            await self._arena.stop()
        for task in watching:
            task.cancel()
        await asyncio.gather(serving, *watching, return_exceptions=True)
        await box.settle()
        if self._chronicle is not None:
            await self._chronicle.close()
        await self._warden.dismiss()
        gc.unfreeze()

    async def _serve(self, box: RunningBox, sockets: list[socket.socket]) -> None:
        server = self.settings.server
        app = create_app(
            box,
            box,
            api_keys=_plain(server.api_keys),
            operator_keys=_plain(server.operator_keys),
            read_only_keys=_plain(server.read_only_keys),
            max_body_bytes=server.max_body,
            max_requests=server.max_requests,
            seal=Seal(load_key(self.folders.data / "seal.key")),
            store=self._store,
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=2)
        self._server = _Server(config)
        await self._server.serve(sockets=sockets)

    def _write_box_file(self, box: RunningBox) -> None:
        self.runtime.write(
            BoxFile(
                pid=os.getpid(),
                tree=self.tree,
                endpoint=box.endpoint,
                model=box.status().model.id,
                log=str(self._log_file) if self._log_file else None,
                started_at=time.time(),
            )
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()


def _chronicle(settings: StateSettings, folders: Folders) -> Chronicle:
    """Blocks: SQLAlchemy and Alembic come with it."""
    from appliance.chronicle import Chronicle
    from appliance.state.database import Database
    from appliance.state.keeping import SECONDS_A_DAY, Keeping

    keeping = Keeping(settings.keep_days * SECONDS_A_DAY, settings.max_bytes)
    return Chronicle(Database(folders.state_file(settings.path), keeping))


def _plain(keys: Iterable[SecretStr]) -> frozenset[str]:
    return frozenset(key.get_secret_value() for key in keys)


def keep_what_stands() -> None:
    """Spare the garbage collector all that lives as long as the process.

    Measured: a full collection walks 670,000 objects, most of them vLLM's modules, and holds the loop for 0.4 s.
    """
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the supervisor decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
