"""Blocks and prefixes, for those on the box's own machine: they name sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.block_views import DEFAULT_CELLS, DEFAULT_PROMPTS, MAP_TIERS, MAX_CELLS, MAX_PROMPTS
from appliance.api.box import Box
from appliance.api.fields import INT64_MAX, Fields
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered
from appliance.api.local import refuse_strangers
from appliance.api.problems import openai_problem
from appliance.errors import InvalidRequest


def add_block_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/blocks")
    async def blocks(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, "blocks can be seen")
            query = request.query_params
            worker = map_in(query)
            cells = number_in(query, "cells", 1, MAX_CELLS) or DEFAULT_CELLS
            desk = box.blocks()
            return await (desk.host_blocks(cells) if worker is None else desk.blocks(worker, cells))

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/prefixes")
    async def prefixes(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, "prefixes name sessions: they can be seen")
            limit = number_in(request.query_params, "limit", 1, MAX_PROMPTS) or DEFAULT_PROMPTS
            return await box.blocks().prefixes(limit)

        return await answered(request, openai_problem, shown)


def map_in(query: Mapping[str, str]) -> int | None:
    """The worker whose map is asked for; `None` is the host tier. Raises `InvalidRequest`."""
    worker = number_in(query, "worker", 0, INT64_MAX)
    if Fields(query).choice("tier", MAP_TIERS) != "host":
        return worker or 0
    if worker is not None:
        raise InvalidRequest("the host tier is all workers': ask for it without a worker", param="worker")
    return None
