"""What the box remembers: its sessions, what was evicted, and any second of it. For those on the box's own machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.block_routes import map_in
from appliance.api.box import Box
from appliance.api.fields import refusal
from appliance.api.history_views import DEFAULT_LISTED, MAX_LISTED
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered
from appliance.api.local import refuse_strangers
from appliance.api.problems import NothingOfThisName, openai_problem

REMEMBERED: Final = "what the box remembers can be seen"
LATEST_SECONDS: Final = 1e11

T = TypeVar("T")


def add_history_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/sessions")
    async def sessions(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            query = request.query_params
            return await box.history().sessions(seconds_in(query, "since"), _limit(query))

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/evictions/history")
    async def evictions(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            query = request.query_params
            since, until = seconds_in(query, "since"), seconds_in(query, "until")
            return await box.history().evictions(query.get("session"), since, until, _limit(query))

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/snapshot")
    async def snapshot(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            at = seconds_in(request.query_params, "at")
            return _there(await box.history().snapshot(at), "second", at)

        return await answered(request, openai_problem, shown)

    _add_view_routes(app, box)


def _add_view_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/cache/sessions/history")
    async def sessions(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            at = seconds_in(request.query_params, "at")
            return _there(await box.history().session_caches(at), "sessions", at)

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/blocks/history")
    async def blocks(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            whose, at = map_in(request.query_params), seconds_in(request.query_params, "at")
            return _there(await box.history().blocks(whose, at), "map of it", at)

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/prefixes/history")
    async def prefixes(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, REMEMBERED)
            at = seconds_in(request.query_params, "at")
            return _there(await box.history().prefixes(at), "prefixes", at)

        return await answered(request, openai_problem, shown)


def _there(found: T | None, what: str, at: float | None) -> T:
    """Raises `NothingOfThisName`."""
    if found is None:
        message = f"the box remembers no {what}" + ("" if at is None else f" until {at:.10g}")
        raise NothingOfThisName(message, param="at", code="not_found")
    return found


def seconds_in(query: Mapping[str, str], name: str) -> float | None:
    """A time in a URL's query. Raises `InvalidRequest`."""
    text = query.get(name)
    if text is None:
        return None
    try:
        seconds = float(text) if text.isascii() else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LATEST_SECONDS:
        raise refusal(name, text, "a time in seconds since 1970")
    return seconds


def _limit(query: Mapping[str, str]) -> int:
    return number_in(query, "limit", 1, MAX_LISTED) or DEFAULT_LISTED
