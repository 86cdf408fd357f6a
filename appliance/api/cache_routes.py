"""What the cache holds, whether it is sound, and dropping it: for those on the box's own machine."""

from __future__ import annotations

from typing import Any, cast, get_args

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.cache_views import DEFAULT_LISTED, MAX_LISTED, TierName
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered, read_object
from appliance.api.local import refuse_strangers
from appliance.api.problems import openai_problem

CACHE = "the cache can be looked at"


def add_cache_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/cache")
    async def cache(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, CACHE)
            return box.cache().tiers()

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/cache/sessions")
    async def sessions(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, CACHE)
            limit = number_in(request.query_params, "limit", 1, MAX_LISTED) or DEFAULT_LISTED
            return await box.cache().sessions(limit)

        return await answered(request, openai_problem, listed)

    @app.post("/box/v1/cache/verify")
    async def verify(request: Request) -> Response:
        async def verified() -> Any:
            refuse_strangers(request.scope, CACHE)
            return await box.cache().verify()

        return await answered(request, openai_problem, verified)

    _add_changes(app, box, service)


def _add_changes(app: FastAPI, box: Box, service: Service) -> None:
    @app.post("/box/v1/cache/resize")
    async def resize(request: Request) -> Response:
        async def resized() -> Any:
            refuse_strangers(request.scope, "the cache can be resized")
            fields = Fields((await read_object(request, service)).body)
            tier, num_bytes = fields.choice("tier", get_args(TierName)), fields.integer("bytes", 1)
            if tier is None or num_bytes is None:
                raise fields.refuse(*(("tier", "host or disk") if tier is None else ("bytes", "a number of bytes")))
            return await box.cache().resize(cast("TierName", tier), num_bytes)

        return await answered(request, openai_problem, resized)

    @app.post("/box/v1/cache/flush")
    async def flush(request: Request) -> Response:
        async def flushed() -> Any:
            refuse_strangers(request.scope, "the cache can be flushed")
            fields = Fields((await read_object(request, service)).body)
            tier = fields.choice("tier", get_args(TierName))
            if tier is None:
                raise fields.refuse("tier", "gpu, host or disk")
            return await box.cache().flush(cast("TierName", tier), fields.integer("worker", 0))

        return await answered(request, openai_problem, flushed)
