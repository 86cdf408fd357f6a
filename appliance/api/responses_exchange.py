"""One response over HTTP: answered at once, or made in the background and followed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from starlette.types import Receive, Scope

from appliance.api.asgi import headers_of, read_body
from appliance.api.exchange import Exchange, Service, fold, report, request_errors_only
from appliance.api.guard import request_id_of
from appliance.api.output import Output
from appliance.api.responses import ResponsesCall, ResponsesCodec
from appliance.api.responses_background import BackgroundRuns, EventLog, Run
from appliance.api.responses_keeping import Keeper
from appliance.api.responses_truncation import prepare
from appliance.errors import RequestError

log = logging.getLogger(__name__)


class ResponsesExchange(Exchange):
    """A response that is kept when it ends, however it ends: a client that leaves cancels it, as at hosted services,
    and what was made until then can be retrieved."""

    def __init__(self, service: Service, codec: ResponsesCodec, keeper: Keeper, runs: BackgroundRuns) -> None:
        super().__init__(service, codec)
        self._responses = codec
        self._keeper = keeper
        self._runs = runs

    async def _serve(self, scope: Scope, receive: Receive, output: Output) -> None:
        """A background response must not hold the place of its own request while it waits for one."""
        body = await read_body(scope, receive, self._service.max_body_bytes)
        with self._service.admission.slot():
            parsed = await self._service.parse(body)
            call = await self._responses.decode(parsed.body, headers_of(scope), parsed.offload)
            if not call.delivery.background:
                answer = self._respond(call, output, request_id_of(scope))
                if not await self._attend(answer, receive, output if call.streams else None):
                    log.info("%s: the client left, the request was aborted", request_id_of(scope))
                return
            run = await self._start(call, request_id_of(scope))
        if call.streams:
            await self._attend(_follow(run.log, output, 0), receive, output)
        else:
            await output.whole(200, run.reply.body)

    async def _respond(self, call: ResponsesCall, output: Output, request_id: str) -> None:
        stamp = self._stamp(request_id)
        with request_errors_only(request_id):
            call, prepared = await prepare(self._service.inference, call, stamp.id)
        reply = call.reply(stamp)
        try:
            with request_errors_only(request_id):
                end = await fold(prepared.events(), reply, output if call.streams else None)
        except RequestError as error:
            end = reply.fail(error)
            if not output.started:
                raise
            report(error, request_id)
        except asyncio.CancelledError:
            reply.cancel()
            raise
        finally:
            await self._keeper.keep(call, reply)
        await (output.close(end) if call.streams else output.whole(200, end))

    async def _start(self, call: ResponsesCall, request_id: str) -> Run:
        """What is wrong with a request is told at once; it does not have to wait for its turn."""
        stamp = self._stamp(request_id)
        with request_errors_only(request_id):
            call, prepared = await prepare(self._service.inference, call, stamp.id)
        return await self._runs.start(call, stamp, prepared, request_id)


class Following(Exchange):
    """The events of a background response from event `position` on. A client that leaves changes nothing."""

    def __init__(self, service: Service, codec: ResponsesCodec, event_log: EventLog, position: int) -> None:
        super().__init__(service, codec)
        self._log = event_log
        self._position = position

    async def _serve(self, scope: Scope, receive: Receive, output: Output) -> None:  # noqa: ARG002 – there is no body
        await self._attend(_follow(self._log, output, self._position), receive, output)


async def _follow(event_log: EventLog, output: Output, position: int) -> None:
    async with aclosing(event_log.follow(position)) as events:
        async for frames in events:
            await output.write(frames)
    await output.close(b"")
