"""The newest evictions, block by block: shown to operators on this machine, since they name sessions."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.fields import INT64_MAX
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered
from appliance.api.local import refuse_strangers
from appliance.api.problems import openai_problem

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


def add_eviction_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/evictions")
    async def evictions(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, "evictions name sessions: they can be seen")
            query = request.query_params
            limit = number_in(query, "limit", 1, MAX_LIMIT)
            return box.evictions(number_in(query, "since", 0, INT64_MAX), limit or DEFAULT_LIMIT)

        return await answered(request, openai_problem, shown)
