"""What happens in the box, as it happens: a stream of server-sent events that can be resumed."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from appliance.api.admission import Admission
from appliance.api.asgi import ClientLeftError, disconnected
from appliance.api.box import Box
from appliance.api.exchange import Service
from appliance.api.fields import Fields, refusal
from appliance.api.guard import request_id_of
from appliance.api.json_route import answered, headers_in
from appliance.api.local import refuse_strangers
from appliance.api.output import Output
from appliance.api.problems import openai_problem
from appliance.box_events import EVENT_TYPES, BoxEvent, Missed, type_of
from appliance.event_bus import EventBus

log = logging.getLogger(__name__)

MAX_READERS: Final = 64
MOST_AT_ONCE: Final = 64
"""Events written in one go: what is encoded meanwhile holds the loop."""
BEGINNINGS: Final = ("now", "oldest")
EVENT_ID: Final = re.compile(r"(\d{1,18})-(\d{1,18})")


def add_event_routes(app: FastAPI, box: Box, service: Service) -> None:
    readers = Admission(MAX_READERS)

    @app.get("/box/v1/events")
    async def events(request: Request) -> Response:
        async def opened() -> Response:
            refuse_strangers(request.scope, "events name sessions: they can be seen")
            last_id = headers_in(request).get("last-event-id") or request.query_params.get("last_event_id")
            query = Fields(request.query_params)
            begin = query.choice("from", BEGINNINGS) or "now"
            follow = query.choice("follow", ("true", "false")) != "false"
            return EventStream(box.events, service, readers, last_id, begin, _types(query), follow=follow)

        return await answered(request, openai_problem, opened)


class EventStream(Response):
    """One reader's: what comes behind `last_id`, or without it from `begin` on; only of these types, if there are any.

    It holds no events: what a slow reader has not taken may be gone when its turn comes, and it is told how much."""

    def __init__(
        self,
        bus: EventBus,
        service: Service,
        readers: Admission,
        last_id: str | None,
        begin: str,
        types: frozenset[str],
        *,
        follow: bool,
    ) -> None:
        super().__init__()
        self._bus = bus
        self._service = service
        self._readers = readers
        self._types = types
        self._follow = follow
        self._is_other_boot, self._seen = _place(bus, last_id, begin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        output = Output(send)
        with self._readers.slot():
            work = asyncio.create_task(self._write(output))
            gone = asyncio.create_task(disconnected(receive))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                work.cancel()
                await asyncio.wait({work, gone})
        if work.cancelled():
            log.info("%s: the reader of events left", request_id_of(scope))
        else:
            work.result()

    async def _write(self, output: Output) -> None:
        opening = self._missed(None) if self._is_other_boot else b""
        await self._send(output, opening or self._still_here())
        while True:
            found = self._bus.after(self._seen, MOST_AT_ONCE)
            frames = self._missed(found.lost) if found.lost else b""
            frames += b"".join(self._frame(each) for each in found.events if self._is_wanted(each))
            self._seen += found.lost + len(found.events)
            if frames:
                await self._send(output, frames)
            elif not found.events and (self._bus.is_closed or not self._follow):
                break
            elif output.quiet_seconds >= self._service.keep_alive_seconds:
                await self._send(output, self._still_here())
            if not found.events:
                await self._bus.changed(self._seen)
        await output.close(b"")

    async def _send(self, output: Output, frames: bytes) -> None:
        """Raises `ClientLeftError` when the reader takes nothing for long."""
        stall_seconds = self._service.stall_seconds
        try:
            async with asyncio.timeout(stall_seconds):
                await output.write(frames)
        except TimeoutError as error:
            raise ClientLeftError(f"the reader of events took nothing for {stall_seconds:g} s") from error

    def _is_wanted(self, each: BoxEvent) -> bool:
        return not self._types or type_of(each.event) in self._types

    def _missed(self, count: int | None) -> bytes:
        """Numbered as the last of those that are gone: who resumes behind it misses nothing more."""
        number = self._seen + (count or 0)
        return self._frame(BoxEvent(number, self._service.clock(), Missed(count)))

    def _still_here(self) -> bytes:
        """No event: who resumes behind it has not missed what was not of its types."""
        return b": keep-alive\nid: %d-%d\n\n" % (self._bus.boot, self._seen)

    def _frame(self, each: BoxEvent) -> bytes:
        payload = msgspec.json.encode(each)
        name = type_of(each.event).encode()
        return b"id: %d-%d\nevent: %b\ndata: %b\n\n" % (self._bus.boot, each.number, name, payload)


def _place(bus: EventBus, last_id: str | None, begin: str) -> tuple[bool, int]:
    """Whether the id is another box's, and the number behind which to begin. Raises `InvalidRequest`."""
    if last_id is None:
        return False, bus.last if begin == "now" else bus.oldest - 1
    match = EVENT_ID.fullmatch(last_id)
    if match is None:
        raise refusal("Last-Event-ID", last_id, "the id of an event")
    boot, number = int(match[1]), int(match[2])
    return (False, number) if boot == bus.boot and number <= bus.last else (True, 0)


def _types(query: Fields) -> frozenset[str]:
    """Raises `InvalidRequest`."""
    names = [name for name in (query.string("types") or "").split(",") if name]
    for name in names:
        Fields({"types": name}).choice("types", EVENT_TYPES)
    return frozenset(names)
