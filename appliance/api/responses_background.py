"""Responses that are made while nobody waits for them: their tasks and their events."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from appliance.api.admission import Admission
from appliance.api.codec import Stamp
from appliance.api.exchange import fold, report, request_errors_only
from appliance.api.problems import Overloaded
from appliance.api.responses import ResponsesCall
from appliance.api.responses_keeping import Keeper
from appliance.api.responses_reply import ResponseReply
from appliance.errors import InvalidRequest, RequestError
from appliance.generation import Prepared

MAX_UNFINISHED: Final = 64
MAX_FINISHED: Final = 16
MAX_LOG_BYTES: Final = 4 * 2**20


class EventLog:
    """The events of one response, for those who follow it now and those who come later.

    Holds the last `max_bytes` of them; `dropped` counts the older ones, which nobody can follow any more.
    """

    def __init__(self, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._max_bytes = max_bytes
        self._frames: list[bytes] = []
        self._changed = asyncio.Event()
        self._is_closed = False
        self.num_bytes = 0
        self.dropped = 0

    def append(self, number: int, frame: bytes) -> None:
        """Event `number`, which is the next."""
        if number != self.dropped + len(self._frames):
            raise ValueError(f"event {number} after event {self.dropped + len(self._frames) - 1}")
        self._frames.append(frame)
        self.num_bytes += len(frame)
        while self.num_bytes > self._max_bytes:
            self.num_bytes -= len(self._frames.pop(0))
            self.dropped += 1
        self._tell()

    def close(self) -> None:
        """No more events come."""
        self._is_closed = True
        self._tell()

    async def follow(self, position: int) -> AsyncGenerator[bytes, None]:
        """The frames from event `position` on, until the last. Raises `InvalidRequest` for dropped ones."""
        while True:
            if position < self.dropped:
                message = f"the events before number {self.dropped} are gone; retrieve the response without stream"
                raise InvalidRequest(message, param="starting_after", code="invalid_value")
            frames = self._frames[position - self.dropped :]
            if frames:
                position += len(frames)
                yield b"".join(frames)
            elif self._is_closed:
                return
            else:
                await self._changed.wait()

    def check_integrity(self) -> None:
        if sum(map(len, self._frames)) != self.num_bytes or self.num_bytes > self._max_bytes:
            raise AssertionError(f"{self.num_bytes} bytes counted in {len(self._frames)} events")

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(slots=True)
class Run:
    """One background response. `task` is done when the response is finished and kept as such."""

    call: ResponsesCall
    reply: ResponseReply
    prepared: Prepared
    log: EventLog = field(default_factory=EventLog)
    task: asyncio.Task[None] | None = None

    @property
    def is_finished(self) -> bool:
        return self.task is not None and self.task.done()


class BackgroundRuns:
    """Runs background responses, each as soon as `admission` has a place for it.

    At most `max_unfinished` are running or waiting. The events of the last `max_finished` can still be followed.
    """

    def __init__(
        self,
        keeper: Keeper,
        admission: Admission,
        max_unfinished: int = MAX_UNFINISHED,
        max_finished: int = MAX_FINISHED,
    ) -> None:
        self._keeper = keeper
        self._admission = admission
        self._max_unfinished = max_unfinished
        self._max_finished = max_finished
        self._unfinished: dict[str, Run] = {}
        self._finished: OrderedDict[str, Run] = OrderedDict()

    async def start(self, call: ResponsesCall, stamp: Stamp, prepared: Prepared, request_id: str) -> Run:
        """Begin a response, which is kept from now on. Raises `Overloaded`."""
        if len(self._unfinished) >= self._max_unfinished:
            raise Overloaded(f"{self._max_unfinished} background responses are not finished yet", code="overloaded")
        event_log = EventLog()
        run = Run(call, call.reply(stamp, event_log.append), prepared, event_log)
        self._unfinished[stamp.id] = run
        run.reply.begin()
        try:
            await self._keeper.keep(call, run.reply)
        except BaseException:
            del self._unfinished[stamp.id]
            raise
        run.task = asyncio.create_task(self._make(run, request_id))
        run.task.add_done_callback(lambda _: self._settle(run))
        return run

    def find(self, response_id: str) -> Run | None:
        return self._unfinished.get(response_id) or self._finished.get(response_id)

    async def cancel(self, response_id: str) -> None:
        """End a response that is not finished, and return when it is kept as cancelled. No-op for any other."""
        run = self._unfinished.get(response_id)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.wait({run.task})

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Nothing is left running after it."""
        yield
        await self.close()

    async def close(self) -> None:
        """End all that is not finished."""
        for response_id in list(self._unfinished):
            await self.cancel(response_id)

    def check_integrity(self) -> None:
        if len(self._unfinished) > self._max_unfinished or len(self._finished) > self._max_finished:
            raise AssertionError(f"{len(self._unfinished)} responses unfinished, {len(self._finished)} finished")
        if self._unfinished.keys() & self._finished.keys():
            raise AssertionError("a response is finished and unfinished")
        for run in (*self._unfinished.values(), *self._finished.values()):
            run.log.check_integrity()

    async def _make(self, run: Run, request_id: str) -> None:
        try:
            async with self._admission.turn():
                run.reply.start()
                await self._keeper.keep(run.call, run.reply)
                with request_errors_only(request_id):
                    await fold(run.prepared.events(), run.reply, None)
        except RequestError as error:
            report(error, request_id)
            run.reply.fail(error)
        except asyncio.CancelledError:
            run.reply.cancel()
            raise
        finally:
            await self._keeper.keep(run.call, run.reply)

    def _settle(self, run: Run) -> None:
        run.log.close()
        self._finished[run.reply.id] = self._unfinished.pop(run.reply.id)
        while len(self._finished) > self._max_finished:
            self._finished.popitem(last=False)
