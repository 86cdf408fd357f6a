"""Requests that have ended for those who ask about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, cast

import msgspec

from appliance.api.request_views import Finding, ReasonName, RequestList, RequestView, Why
from appliance.records import RequestRecord
from appliance.router.decision import why
from appliance.why import Circumstances, Said, asked, findings

if TYPE_CHECKING:
    from appliance.pipeline import Pipeline


class RequestDesk:
    """`api.box.RequestDesk` over a pipeline's book."""

    def __init__(
        self,
        pipeline: Pipeline,
        rules: Collection[str],
        *,
        has_host_tier: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._router = pipeline.router
        self._book = pipeline.book
        self._circumstances = Circumstances(rules, has_host_tier, self._routed)
        self._clock = clock

    async def newest(self, limit: int, session: str | None, since: float | None) -> RequestList:
        return RequestList([*map(request_view, self._book.newest(limit, session, since))])

    async def find(self, name: str) -> RequestView | None:
        record = await self._book.find(name)
        return None if record is None else request_view(record)

    async def why(self, name: str) -> Why | None:
        record = await self._book.find(name)
        if record is None:
            return None
        said = findings(record, self._circumstances)
        return Why(request_view(record), asked(record, self._clock()), [self._finding(record, one) for one in said])

    def _finding(self, record: RequestRecord, said: Said) -> Finding:
        seconds = None
        if said.reason is not None and record.worker is not None:
            seconds = said.tokens * self._router.paces.of(record.worker).seconds_per_token
        reason = None if said.reason is None else said.reason.value
        return Finding(
            said.tokens,
            said.start,
            said.source.value,
            cast("ReasonName | None", reason),
            said.text,
            said.advice,
            seconds,
        )

    def _routed(self, name: str) -> str | None:
        decisions = self._router.history.of(name)
        if not decisions:
            return None
        last = decisions[-1]
        return why(last.worker, last.reason, last.candidates)


def request_view(record: RequestRecord) -> RequestView:
    """The same, field for field."""
    return msgspec.convert(record, RequestView, from_attributes=True, strict=False)
