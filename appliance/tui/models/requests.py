"""Requests that have ended: what of each was read from where, and why the rest was not."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from msgspec import Struct

from appliance.api.request_views import RangeView, RequestView
from appliance.tui.frame import Frame

UNAVOIDABLE: Final = ("first_request", "below_block_boundary")
"""What nobody could have read: it was new, or fills no block."""


class RangeLine(Struct, frozen=True):
    """Neighbouring tokens with one fate. `kind` is the tier they were read from, `new` for what could not be in any,
    and `missed` for what could have been."""

    start: int
    tokens: int
    kind: str
    reason: str | None


class RequestLine(Struct, frozen=True):
    """`miss` is the reason of most tokens that were missed, `missed_tokens` are those of all reasons; `None`: no engine
    has read it."""

    id: str
    arrived_at: float
    session: str | None
    turn: int | None
    client: str | None
    worker: int | None
    outcome: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    missed_tokens: int | None
    miss: str | None
    queued_seconds: float
    first_token_seconds: float | None
    total_seconds: float
    error: str | None
    ranges: list[RangeLine]

    @property
    def share(self) -> float | None:
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens and self.ranges else None


def request_lines(frame: Frame) -> list[RequestLine]:
    """The one that ended last first."""
    return [request_line(view) for view in frame.requests or ()]


def request_line(view: RequestView) -> RequestLine:
    missed = _missed(view.ranges)
    return RequestLine(
        id=view.id,
        arrived_at=view.arrived_at,
        session=view.session,
        turn=view.turn,
        client=view.client,
        worker=view.worker,
        outcome=view.outcome,
        prompt_tokens=view.prompt_tokens,
        cached_tokens=view.cached_tokens,
        completion_tokens=view.completion_tokens,
        missed_tokens=sum(missed.values()) if view.ranges else None,
        miss=max(missed, key=lambda reason: missed[reason], default=None),
        queued_seconds=view.queued_seconds,
        first_token_seconds=view.first_token_seconds,
        total_seconds=view.total_seconds,
        error=view.error,
        ranges=_joined(view.ranges),
    )


def _missed(ranges: list[RangeView]) -> dict[str, int]:
    """Tokens by the reason for which they were not read, where they could have been."""
    missed: dict[str, int] = {}
    for one in ranges:
        if one.reason is not None and one.reason not in UNAVOIDABLE:
            missed[one.reason] = missed.get(one.reason, 0) + one.end - one.start
    return missed


def _joined(ranges: list[RangeView]) -> list[RangeLine]:
    joined = []
    for (kind, reason), group in groupby(ranges, lambda one: (_kind(one), one.reason)):
        run = list(group)
        joined.append(RangeLine(run[0].start, run[-1].end - run[0].start, kind, reason))
    return joined


def _kind(one: RangeView) -> str:
    if one.reason is None:
        return one.source
    return "new" if one.reason in UNAVOIDABLE else "missed"


def turn_rates(frame: Frame) -> dict[str, list[float | None]]:
    """By session: the share read from cache of each of its turns that are remembered, the oldest first."""
    rates: dict[str, list[float | None]] = {}
    for line in reversed(request_lines(frame)):
        if line.session is not None:
            rates.setdefault(line.session, []).append(line.share)
    return rates
