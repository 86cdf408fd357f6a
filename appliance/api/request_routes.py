"""Requests, and why their tokens were computed: for those on the box's own machine, since they name sessions and quote
prompts."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.history_routes import seconds_in
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered
from appliance.api.lint_views import DEFAULT_SECONDS, MAX_SECONDS
from appliance.api.local import refuse_strangers
from appliance.api.operator import is_dry_run, who_asks
from appliance.api.problems import NothingOfThisName, openai_problem
from appliance.api.request_views import DEFAULT_LISTED, MAX_LISTED

REQUESTS = "requests name sessions and quote prompts: they can be looked at"


def add_request_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/requests")
    async def newest(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, REQUESTS)
            query = request.query_params
            limit = number_in(query, "limit", 1, MAX_LISTED) or DEFAULT_LISTED
            return await box.requests().newest(
                limit, query.get("session"), seconds_in(query, "since"), seconds_in(query, "until")
            )

        return await answered(request, openai_problem, listed)

    @app.get("/box/v1/requests/{request_id}")
    async def one(request_id: str, request: Request) -> Response:
        async def found() -> Any:
            refuse_strangers(request.scope, REQUESTS)
            return await _found(request_id, box.requests().find(request_id))

        return await answered(request, openai_problem, found)

    @app.get("/box/v1/requests/{request_id}/why")
    async def why(request_id: str, request: Request) -> Response:
        async def explained() -> Any:
            refuse_strangers(request.scope, REQUESTS)
            return await _found(request_id, box.requests().why(request_id))

        return await answered(request, openai_problem, explained)

    @app.get("/box/v1/lint")
    async def lint(request: Request) -> Response:
        async def linted() -> Any:
            refuse_strangers(request.scope, REQUESTS)
            seconds = number_in(request.query_params, "last", 1, MAX_SECONDS) or DEFAULT_SECONDS
            return await box.requests().lint(seconds)

        return await answered(request, openai_problem, linted)


def add_cancel_route(app: FastAPI, box: Box) -> None:
    @app.post("/box/v1/requests/{request_id}/cancel")
    async def cancel(request_id: str, request: Request) -> Response:
        async def cancelled() -> Any:
            refuse_strangers(request.scope, "requests can be cancelled")
            return await box.requests().cancel(request_id, who_asks(request), dry_run=is_dry_run(request))

        return await answered(request, openai_problem, cancelled)


async def _found(request_id: str, looked_up: Awaitable[Any]) -> Any:
    found = await looked_up
    if found is None:
        message, hint = f"no request {request_id!r} is remembered", "Use the id of an answer, or last."
        raise NothingOfThisName(message, code="no_request", hint=hint)
    return found
