"""One generation over HTTP, for any codec: body in, answer out, and an engine that stops when the client goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from appliance.api.admission import Admission
from appliance.api.asgi import ClientLeftError, disconnected, headers_of, parse_object, read_body
from appliance.api.codec import Call, Codec, Reply, Stamp
from appliance.api.guard import request_id_of
from appliance.api.json_body import Bounds
from appliance.api.offload import Offload
from appliance.api.output import Output
from appliance.api.problems import internal_error
from appliance.api.sse import KEEP_ALIVE
from appliance.errors import GenerationFailed, RequestError
from appliance.generation import Delta, Event, Finished, Inference

log = logging.getLogger(__name__)


class Parsed(NamedTuple):
    """A request's JSON object, and where the rest of its reading runs."""

    body: Mapping[str, Any]
    offload: Offload


@dataclass(frozen=True, slots=True)
class Service:
    """What every exchange shares. `clock` tells seconds since 1970, `new_token` a string that never came before.

    A stream that is quiet for `keep_alive_seconds` gets a comment. A client that takes nothing of its stream for
    `stall_seconds` is one that has left.
    """

    inference: Inference
    admission: Admission
    max_body_bytes: int
    keep_alive_seconds: float
    stall_seconds: float
    clock: Callable[[], float]
    new_token: Callable[[], str]
    reading_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    def offload(self, num_bytes: int) -> Offload:
        """For what is asked with so many bytes."""
        return Offload(num_bytes, self.reading_turns)

    async def parse(self, body: bytes) -> Parsed:
        """Raises like `parse_object`."""
        offload = self.offload(len(body))
        return Parsed(await offload.run(parse_object, body, self._bounds()), offload)

    def _bounds(self) -> Bounds:
        return Bounds.of(max((card.context_tokens for card in self.inference.models()), default=0))


class Exchange(Response):
    """A response that reads its request itself, so that nothing is parsed, validated or copied before or between.

    It keeps nothing of a request: one may answer all of a route's.
    """

    def __init__(self, service: Service, codec: Codec) -> None:
        super().__init__()
        self._service = service
        self._codec = codec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        output = Output(send)
        try:
            await self._serve(scope, receive, output)
        except RequestError as error:
            report(error, request_id_of(scope))
            await self._fail(output, error, request_id_of(scope))

    async def _serve(self, scope: Scope, receive: Receive, output: Output) -> None:
        body = await read_body(scope, receive, self._service.max_body_bytes)
        with self._service.admission.slot():
            parsed = await self._service.parse(body)
            call = await self._codec.decode(parsed.body, headers_of(scope), parsed.offload)
            work = self._answer(call, output, request_id_of(scope))
            if not await self._attend(work, receive, output if call.streams else None):
                log.info("%s: the client left, the request was aborted", request_id_of(scope))

    async def _answer(self, call: Call, output: Output, request_id: str) -> None:
        """Prepare, generate, send. An engine must never see one id twice, and a client may well send one twice:
        the request goes on under the id of its answer."""
        stamp = self._stamp(request_id)
        with request_errors_only(request_id):
            prepared = await self._service.inference.prepare(call.conversation, stamp.id)
            end = await fold(prepared.events(), call.reply(stamp), output if call.streams else None)
        await (output.close(end) if call.streams else output.whole(200, end))

    def _stamp(self, request_id: str) -> Stamp:
        stamp = Stamp(self._codec.id_prefix + self._service.new_token(), int(self._service.clock()))
        log.debug("%s: goes on as %s", request_id, stamp.id)
        return stamp

    async def _attend(self, answer: Coroutine[Any, Any, None], receive: Receive, stream: Output | None) -> bool:
        """Wait for `answer`, keep a quiet `stream` alive, and cancel `answer` when the client goes (then `False`).

        Raises `ClientLeftError` when the client stays and takes nothing.
        """
        work = asyncio.create_task(answer)
        gone = asyncio.create_task(disconnected(receive))
        try:
            while not (work.done() or gone.done()):
                wait_seconds = None if stream is None else self._patience(stream) - stream.quiet_seconds
                done, _ = await asyncio.wait({work, gone}, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
                if not done and stream is not None and stream.quiet_seconds >= self._patience(stream):
                    await self._nudge(stream)
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.wait({work, gone})
        if work.cancelled():
            return False
        work.result()
        return True

    def _patience(self, stream: Output) -> float:
        return self._service.stall_seconds if stream.is_writing else self._service.keep_alive_seconds

    async def _nudge(self, stream: Output) -> None:
        """Something must be sent now, or the client be given up."""
        stall_seconds = self._service.stall_seconds
        try:
            async with asyncio.timeout(0 if stream.is_writing else stall_seconds):
                await stream.write(KEEP_ALIVE)
        except TimeoutError as error:
            raise ClientLeftError(f"the client took nothing of its answer for {stall_seconds:g} s") from error

    async def _fail(self, output: Output, error: RequestError, request_id: str) -> None:
        if output.started:
            await output.close(self._codec.encode_stream_error(error, request_id))
        else:
            await output.whole(*self._codec.problem(error, request_id))


@contextmanager
def request_errors_only(request_id: str) -> Iterator[None]:
    """The border to the engines: whatever goes wrong, the client gets an answer in its protocol's shape."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        log.exception("%s: generation failed", request_id)
        raise internal_error(request_id) from error


async def fold(events: AsyncGenerator[Event, None], reply: Reply, stream: Output | None) -> bytes:
    """Feed `reply` with every event and send what it says to `stream`. Returns the end of the answer, unsent.

    What the start says goes with the first delta, which follows at once: every write is a call of the system.
    """
    event: Event | None = None
    if stream is not None and (opening := reply.begin()):
        await stream.write(opening)
    frames = b""
    async with aclosing(events):
        async for event in events:
            frames += reply.add(event)
            if frames and stream is not None and isinstance(event, Delta):
                await stream.write(frames)
                frames = b""
    if not isinstance(event, Finished):
        raise GenerationFailed("the engine ended this request before it was finished", code="unfinished")
    return frames + reply.end()


def report(error: RequestError, request_id: str) -> None:
    level = logging.WARNING if error.status >= 500 else logging.INFO
    log.log(level, "%s: %d, %s", request_id, error.status, error.message)
