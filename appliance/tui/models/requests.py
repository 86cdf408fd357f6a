"""Requests: how far those under way are, what of the others was read from where, and why the rest was not."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from msgspec import Struct

from appliance.api.request_views import ActiveRequestView, RangeView, RequestView
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
    has read it, or it is not known yet. `outcome` is the phase of one that `is_active`, `total_seconds` what it took so
    far."""

    id: str
    arrived_at: float
    session: str | None
    turn: int | None
    client: str | None
    worker: int | None
    outcome: str
    is_active: bool
    prompt_tokens: int
    cached_tokens: int | None
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
        if self.cached_tokens is None or not self.prompt_tokens:
            return None
        return self.cached_tokens / self.prompt_tokens


def request_lines(frame: Frame) -> list[RequestLine]:
    """Those under way first, the newest of them at the top; then the one that ended last."""
    return [*map(active_line, frame.active or ()), *map(request_line, frame.requests or ())]


def active_line(view: ActiveRequestView) -> RequestLine:
    return RequestLine(
        id=view.id,
        arrived_at=view.arrived_at,
        session=view.session,
        turn=view.turn,
        client=view.client,
        worker=view.worker,
        outcome=view.phase,
        is_active=True,
        prompt_tokens=view.prompt_tokens,
        cached_tokens=view.cached_tokens,
        completion_tokens=view.completion_tokens,
        missed_tokens=None,
        miss=None,
        queued_seconds=view.queued_seconds,
        first_token_seconds=view.first_token_seconds,
        total_seconds=view.total_seconds,
        error=None,
        ranges=[],
    )


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
        is_active=False,
        prompt_tokens=view.prompt_tokens,
        cached_tokens=view.cached_tokens if view.ranges else None,
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
    """By session: the share read from cache of each of its turns that have ended, the oldest first."""
    rates: dict[str, list[float | None]] = {}
    for line in map(request_line, reversed(frame.requests or ())):
        if line.session is not None:
            rates.setdefault(line.session, []).append(line.share)
    return rates


def running(frame: Frame) -> dict[str, list[str]]:
    """By session: its requests that are under way."""
    found: dict[str, list[str]] = {}
    for one in frame.active or ():
        if one.session is not None:
            found.setdefault(one.session, []).append(one.id)
    return found
