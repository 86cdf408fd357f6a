"""Replays of the live record with another policy, as jobs."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.json_route import answered, read_object
from appliance.api.local import refuse_strangers
from appliance.api.policy_routes import policy_text_in
from appliance.api.policy_views import MAX_NAME
from appliance.api.problems import openai_problem
from appliance.api.whatif_views import DEFAULT_LAST_SECONDS, MAX_LAST_SECONDS

SEEN = "replays name sessions: they can be seen"


def add_whatif_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.post("/box/v1/whatif")
    async def start(request: Request) -> Response:
        async def started() -> Any:
            refuse_strangers(request.scope, "replays can be started")
            fields = Fields((await read_object(request, service)).body)
            last = fields.number("last", 0, MAX_LAST_SECONDS, above_low=True)
            by = fields.short_string("by", MAX_NAME) or "operator"
            policy, active = await box.policies().read(policy_text_in(fields))
            return box.whatif().start(policy, active, DEFAULT_LAST_SECONDS if last is None else last, by)

        return await answered(request, openai_problem, started)

    @app.get("/box/v1/whatif")
    async def newest(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, SEEN)
            return box.whatif().newest()

        return await answered(request, openai_problem, listed)

    @app.get("/box/v1/whatif/{job}")
    async def get(job: str, request: Request) -> Response:
        async def found() -> Any:
            refuse_strangers(request.scope, SEEN)
            return box.whatif().get(job)

        return await answered(request, openai_problem, found)

    @app.delete("/box/v1/whatif/{job}")
    async def cancel(job: str, request: Request) -> Response:
        async def cancelled() -> Any:
            refuse_strangers(request.scope, "replays can be cancelled")
            return await box.whatif().cancel(job)

        return await answered(request, openai_problem, cancelled)
