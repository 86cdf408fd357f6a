"""Blocks, for those on the box's own machine: they name sessions."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.block_views import DEFAULT_CELLS, MAP_TIERS, MAX_CELLS
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
            tier = Fields(query).choice("tier", MAP_TIERS)
            cells = number_in(query, "cells", 1, MAX_CELLS) or DEFAULT_CELLS
            worker = number_in(query, "worker", 0, INT64_MAX)
            if tier != "host":
                return await box.blocks().blocks(worker or 0, cells)
            if worker is not None:
                raise InvalidRequest("the host tier is all workers': ask for it without a worker", param="worker")
            return await box.blocks().host_blocks(cells)

        return await answered(request, openai_problem, shown)
