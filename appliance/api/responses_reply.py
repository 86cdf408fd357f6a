"""Responses, answer side: events → the events of a stream, or one response.

Both are made by the same steps: the last event of a stream carries the response that comes whole without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Raw, json, structs

from appliance.api.chat_reply import refuse_abort
from appliance.api.codec import Stamp
from appliance.api.postscript import Postscript
from appliance.api.problems import told
from appliance.api.responses_bodies import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    QUEUED,
    Echo,
    ErrorBody,
    IncompleteBody,
    ResponseBody,
    usage_body,
)
from appliance.api.responses_events import ErrorEvent, EventWriter, LifeCycle
from appliance.api.responses_output import Output, OutputStyle
from appliance.api.responses_store import StoredItem
from appliance.errors import GenerationFailed, RequestError
from appliance.generation import Delta, Event, Finished, FinishReason, Usage

ID_PREFIX: Final = "resp_"
LENGTH_REASON: Final = "max_output_tokens"


class ResponseReply:
    """One response in the making. `status` and `body`, its JSON, say how far it is."""

    def __init__(
        self,
        stamp: Stamp,
        echo: Echo,
        style: OutputStyle,
        postscript: Postscript,
        writer: EventWriter,
        clock: Callable[[], float],
    ) -> None:
        status = QUEUED if echo.background else IN_PROGRESS
        self._base = ResponseBody(id=stamp.id, created_at=stamp.created, status=status, **structs.asdict(echo))
        self._output = Output(writer, stamp.id.removeprefix(ID_PREFIX), style)
        self._style = style
        self._postscript = postscript
        self._writer = writer
        self._clock = clock
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._end: ResponseBody | None = None

    @property
    def id(self) -> str:
        return self._base.id

    @property
    def status(self) -> str:
        return (self._end or self._base).status

    @property
    def body(self) -> bytes:
        return json.encode(self._end or self._base)

    def output(self) -> tuple[StoredItem, ...]:
        """The items that are done."""
        return tuple(StoredItem(item.id, json.encode(item)) for item in self._output.items)

    def begin(self) -> bytes:
        """A background response waits for its turn first (`start`)."""
        self._tell("response.created", self._base)
        self._tell(f"response.{self.status}", self._base)
        return self._writer.take()

    def start(self) -> bytes:
        """The turn of a response that was queued."""
        self._base = structs.replace(self._base, status=IN_PROGRESS)
        self._tell("response.in_progress", self._base)
        return self._writer.take()

    def add(self, event: Event) -> bytes:
        self._postscript.add(event)
        if isinstance(event, Delta):
            refuse_abort(event)
            if not self._style.prewarms:
                self._output.add(event)
            self._finish = event.finish or self._finish
        elif isinstance(event, Finished):
            self._usage = event.usage
        return self._writer.take()

    def end(self) -> bytes:
        if self._finish is None or self._usage is None:
            raise GenerationFailed("the answer ended without a finish reason or its token counts", code="unfinished")
        cut_short = self._finish is FinishReason.LENGTH and not self._style.prewarms
        status = INCOMPLETE if cut_short else COMPLETED
        if not self._style.prewarms:
            self._output.close(status)
        return self._settle(
            status,
            completed_at=int(self._clock()) if status == COMPLETED else None,
            incomplete_details=IncompleteBody(LENGTH_REASON) if status == INCOMPLETE else None,
            usage=usage_body(self._usage),
            prompt_cache_diagnostics=self._postscript.cache_diagnostics(),
        )

    def fail(self, error: RequestError) -> bytes:
        """The end of an answer that cannot be finished."""
        code = "server_error" if error.status >= 500 else error.code or "invalid_prompt"
        self._output.abandon()
        self._writer.write(ErrorEvent, code, told(error), error.param)
        return self._settle(FAILED, error=ErrorBody(code, told(error)))

    def cancel(self) -> None:
        """The end of an answer that nobody wants any more; no event tells it."""
        self._output.abandon()
        self._writer.take()
        self._end = structs.replace(self._base, status=CANCELLED, output=self._output.items)

    def _settle(self, status: str, **fields: object) -> bytes:
        """The last event of a stream, or the whole body."""
        told_beside = self._postscript.nvext()
        self._end = structs.replace(self._base, status=status, output=self._output.items, nvext=told_beside, **fields)
        self._tell(f"response.{status}", self._end)
        return self._writer.take() or self.body

    def _tell(self, name: str, body: ResponseBody) -> None:
        self._writer.write(LifeCycle, name, Raw(json.encode(body)))
