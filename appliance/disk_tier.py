"""The supervisor's hold on the keeper: started, asked, started again when it dies, ended with the box.

No request depends on it: one that asks for its blocks waits for a limited time, and goes on without them then.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from appliance.cache.arena.tables import Keys
from appliance.cache.prompt_read import Brought
from appliance.cache.slab.layout import Shape
from appliance.host_arena import HostArena
from appliance.keeper.remote.breaker import State
from appliance.keeper.wire import (
    MAX_FRAME,
    Checking,
    Counted,
    DiskPlace,
    DiskStats,
    Flush,
    KeeperSettings,
    KeeperStats,
    Map,
    Mapped,
    Moved,
    Opening,
    Promote,
    Promoted,
    Told,
    Verify,
    frame,
    read_frame,
)
from appliance.keeper_process import end_keeper, start_keeper
from appliance.recall_pace import RecallPace
from appliance.restarts import RestartBudget
from appliance.router.shared_tier import SharedTier

RECALL_SECONDS: Final = 1.0
"""So long a request waits for the disk at least; longer only while computing would take longer still. What comes later
is in the arena for the next one."""
MAX_WAITING: Final = 64
"""Requests that wait for the disk at a time; a further one goes on without."""
MAX_OVERDUE: Final = 4
"""With so many answers overdue the disk hangs, or is slower than computing: nobody waits for it until one comes."""
UPKEEP_SECONDS: Final = 3600.0
"""A slab of terabytes is read at the speed of its disk."""
RESIZE_SECONDS: Final = 600.0
"""The headers of a slab of terabytes are read meanwhile."""
MAP_SECONDS: Final = 5.0
PROGRESS_SECONDS: Final = 2.0
_KEY_BYTES: Final = 32
_MAX_KEYS: Final = MAX_FRAME // 2 // _KEY_BYTES

Answer = TypeVar("Answer", Counted, Mapped)

log = logging.getLogger("dynamo_box.disk_tier")


class _Resize(NamedTuple):
    """What the keeper was told before, and whether one has opened the slab in its new size."""

    before: KeeperSettings
    is_open: asyncio.Future[bool]

    def tell(self, *, is_open: bool) -> None:
        if not self.is_open.done():
            self.is_open.set_result(is_open)


class DiskTier:
    """Below this arena, on the disk and in the remote store that the settings name, if they do."""

    def __init__(
        self,
        settings: KeeperSettings,
        arena: HostArena,
        restarts: RestartBudget | None = None,
        tier: SharedTier | None = None,
    ) -> None:
        """`tier` is told what comes to the disk and goes from it."""
        self.stats: KeeperStats | None = None
        """As told last; `None` until the keeper has opened what it has."""
        self.asked = self.late = 0
        """Requests for which blocks were asked for, and those that went on before all were there."""
        self.pace = RecallPace()
        self.checked: int | None = None
        """Blocks that a check under way has read."""
        self._settings = settings
        self._arena = arena
        self._tier = tier
        self.restarts = restarts or RestartBudget(5, 600.0, 1.0, 30.0)
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._overdue: set[int] = set()
        self._brought: dict[int, Brought] = {}
        self._began: dict[int, float] = {}
        """Of those that wait or are overdue."""
        self._answers: dict[int, asyncio.Future[Counted | Mapped | None]] = {}
        self._mapping = asyncio.Lock()
        self._resize: _Resize | None = None
        self._next = 0
        self._next_progress = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """`None` while there is no keeper."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Once the arena is there; in the running loop, to be ended with `stop`."""
        self._task = asyncio.create_task(self._run(), name="keeper")

    async def stop(self) -> None:
        """Idempotent. What the keeper was writing it finishes, within a limit."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def is_empty(self) -> bool:
        """Nothing can be recalled, as far as is known."""
        if (stats := self.stats) is None:
            return True
        is_asked = stats.remote is not None and stats.remote.counts.reading != State.OPEN
        return not is_asked and (stats.disk is None or not stats.disk.slab.used)

    @property
    def on_disk(self) -> DiskStats | None:
        """As told last; `None` without a slab, too."""
        return self.stats.disk if self.stats is not None else None

    @property
    def has_disk(self) -> bool:
        return self._settings.disk is not None

    @property
    def remote_url(self) -> str | None:
        """Of the remote store, if there is one."""
        return self._settings.remote.url if self._settings.remote is not None else None

    @property
    def tier(self) -> SharedTier | None:
        """By which the router knows what is on the disk."""
        return self._tier

    async def recall(self, hashes: Keys, computing_seconds: float = 0.0) -> Brought:
        """Have the blocks of a prompt brought into the arena, its head first; `hashes` are what engines call them,
        `computing_seconds` what making them anew would take.

        Returns when they are there, when it is known that no more can be, or when the time is over; what comes after
        that is told in the answer too.
        """
        brought = Brought()
        keys = self._arena.keys_of(hashes[:_MAX_KEYS])
        is_busy = len(self._waiting) >= MAX_WAITING or len(self._overdue) >= MAX_OVERDUE
        if self.is_empty or is_busy or not self._arena.lacks(keys):
            return brought
        if computing_seconds and not self.pace.pays(computing_seconds / len(keys)):
            return brought
        self.asked += 1
        number = self._number()
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._brought[number] = brought
        self._began[number] = time.monotonic()
        seconds = max(RECALL_SECONDS, computing_seconds)
        try:
            if self._say(Promote(number, keys.tobytes(), seconds)):
                async with asyncio.timeout(seconds):
                    await answer
        except TimeoutError:
            self.late += 1
            self._overdue.add(number)
        finally:
            del self._waiting[number]
            if number not in self._overdue:
                self._forget(number)
        return brought

    async def verify(self) -> Counted | None:
        """Have every block read and checked; `None` when there is no keeper, or it does not answer in time."""
        return await self._answer(Verify(self._number()), Counted, UPKEEP_SECONDS)

    async def flush(self) -> Counted | None:
        """Drop every block; `None` as for `verify`."""
        return await self._answer(Flush(self._number()), Counted, UPKEEP_SECONDS)

    async def map(self, cells: int) -> Mapped | None:
        """Its slab in at most so many cells, made by the keeper; one at a time. `None` as for `verify`."""
        try:
            async with asyncio.timeout(MAP_SECONDS), self._mapping:
                return await self._answer(Map(self._number(), cells), Mapped, MAP_SECONDS)
        except TimeoutError:
            return None

    async def resize(self, num_bytes: int) -> str | None:
        """Have the slab made larger or smaller: the keeper ends, and the next one opens it so; requests do without the
        disk meanwhile. Why it was not done, if it was not: it then has its old size.

        Of a smaller slab the blocks in the part that is cut off are gone, whatever they were worth.
        """
        old, told = self._settings, self.on_disk
        if old.disk is None or told is None or self._process is None:
            return "its keeper is not there"
        if self._resize is not None:
            return "it is being resized already"
        if problem := _lack_of_room(old.disk, num_bytes, told.counts.row_bytes):
            return problem
        self._settings = msgspec.structs.replace(old, disk=msgspec.structs.replace(old.disk, num_bytes=num_bytes))
        self._resize = _Resize(old, asyncio.get_running_loop().create_future())
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            async with asyncio.timeout(RESIZE_SECONDS):
                is_open = await self._resize.is_open
        except TimeoutError:
            return f"the keeper has not opened it within {RESIZE_SECONDS:g} s; it goes on trying"
        finally:
            self._resize = None
        return None if is_open else "the keeper could not open it so, see the log; it has its old size"

    async def _answer(self, ask: Verify | Flush | Map, kind: type[Answer], seconds: float) -> Answer | None:
        answer: asyncio.Future[Counted | Mapped | None] = asyncio.get_running_loop().create_future()
        self._answers[ask.number] = answer
        try:
            if not self._say(ask):
                return None
            async with asyncio.timeout(seconds):
                told = await answer
            return told if isinstance(told, kind) else None
        except TimeoutError:
            return None
        finally:
            del self._answers[ask.number]

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        return number

    def _learn(self, number: int) -> None:
        if number in self._brought:
            self.pace.learn(self._brought[number].from_below, time.monotonic() - self._began[number])

    def _forget(self, number: int) -> None:
        self._brought.pop(number, None)
        self._began.pop(number, None)

    def _end(self, number: int) -> None:
        """Nothing more will come of it."""
        self._overdue.discard(number)
        self._forget(number)
        if (answer := self._waiting.get(number)) is not None and not answer.done():
            answer.set_result(None)

    def _say(self, message: msgspec.Struct) -> bool:
        """Whether there is a keeper that takes it. A pipe that is full is one that nobody reads."""
        pipe = self._process.stdin if self._process is not None else None
        if pipe is None or pipe.is_closing() or pipe.transport.get_write_buffer_size() > MAX_FRAME:
            return False
        pipe.write(frame(message))
        return True

    async def _run(self) -> None:
        """A keeper after the other, until the budget for restarts is spent."""
        while True:
            try:
                await self._live()
            except OSError as error:
                log.warning("the keeper cannot be started: %s", error)
            if self._resize is not None:
                continue
            delay = self.restarts.take()
            if delay is None:
                log.error("the keeper ended too often; the disk tier is off until the box starts again")
                return
            log.warning("the keeper ended and is started again in %g s", delay)
            await asyncio.sleep(delay)

    async def _live(self) -> None:
        """One keeper's life."""
        resize = self._resize
        process = self._process = await start_keeper()
        try:
            self._say(self._settings)
            while process.stdout is not None and (told := await read_frame(process.stdout, Told)) is not None:
                self._hear(told)
        finally:
            if resize is not None and self.stats is None:
                self._settings = resize.before
                resize.tell(is_open=False)
            self._process = self.stats = self.checked = None
            if self._tier is not None:
                self._tier.restart(())
            for number in [*self._waiting, *self._overdue]:
                self._end(number)
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
            await end_keeper(process)

    def _hear(self, told: Told) -> None:
        match told:
            case Promoted():
                self._take(told)
            case Checking(_, seen, blocks):
                self.checked = seen
                log.info("checking the disk tier: %d of %d blocks", seen, blocks)
            case Counted() | Mapped():
                if isinstance(told, Counted):
                    self.checked = None
                if told.number in self._answers and not self._answers[told.number].done():
                    self._answers[told.number].set_result(told)
            case Opening(seen, rows) if seen == rows or time.monotonic() >= self._next_progress:
                self._next_progress = time.monotonic() + PROGRESS_SECONDS
                log.info("reading the disk tier's index: %d of %d rows", seen, rows)
            case Moved():
                self._follow(told)
            case KeeperStats():
                if self.stats is None:
                    self._is_open(told)
                self.stats = told
                self._follow(Moved(b"", b"", is_whole=True))

    def _take(self, told: Promoted) -> None:
        if (brought := self._brought.get(told.number)) is not None:
            brought.add(told.tiers)
        if told.is_last:
            self._learn(told.number)
            self._end(told.number)

    def _follow(self, moved: Moved) -> None:
        """Also when nothing has moved: what an engine told later than the disk is learned then."""
        if self._tier is None:
            return
        if not moved.is_whole:
            self._tier.restart(())
        hashes = np.frombuffer(moved.hashes, np.uint64).tolist()
        self._tier.follow((one, bool(stored)) for one, stored in zip(hashes, moved.is_stored, strict=True))
        self._tier.refresh()

    def _is_open(self, stats: KeeperStats) -> None:
        if stats.disk is not None:
            log.info("%s; %d blocks in it", stats.disk.counts.opened, stats.disk.slab.used)
        if self.remote_url is not None:
            log.info("the remote store is %s", self.remote_url)
        if self._resize is not None:
            self._resize.tell(is_open=True)


def _lack_of_room(place: DiskPlace, num_bytes: int, row_bytes: int) -> str | None:
    if not Shape.rows_in(num_bytes, row_bytes):
        return f"{num_bytes} bytes have no room for a block of {row_bytes}"
    more = num_bytes - place.num_bytes
    free = shutil.disk_usage(Path(place.path).parent).free
    if more > free:
        return f"{more / 2**30:.1f} GiB more are wanted, and {place.path} has {free / 2**30:.1f} GiB free beside it"
    return None
