"""Blocks and prefixes, for those on the box's own machine: they name sessions."""

from __future__ import annotations

from collections.abc import Mapping
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
            whose = map_in(query)
            cells = number_in(query, "cells", 1, MAX_CELLS) or DEFAULT_CELLS
            desk = box.blocks()
            if isinstance(whose, int):
                return await desk.blocks(whose, cells)
            return await (desk.host_blocks(cells) if whose == "host" else desk.disk_blocks(cells))

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/blocks/chain")
    async def chain(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, "a block's prompt names sessions: it can be seen")
            query = request.query_params
            session, token = query.get("session"), number_in(query, "token", 0, INT64_MAX)
            if not session:
                raise InvalidRequest("say whose prompt: session=NAME", param="session")
            return await box.blocks().chain(session, token or 0)

        return await answered(request, openai_problem, shown)


def map_in(query: Mapping[str, str]) -> int | str:
    """Whose map is asked for: a worker's, or that of the tier of this name. Raises `InvalidRequest`."""
    tier, worker = _tier(query), number_in(query, "worker", 0, INT64_MAX)
    if tier == "gpu":
        return worker or 0
    if worker is not None:
        raise InvalidRequest(f"the {tier} tier is all workers': ask for it without a worker", param="worker")
    return tier


def _tier(query: Mapping[str, str]) -> str:
    if query.get("tier") == "remote":
        raise InvalidRequest(
            "the remote store has no map: it is asked for single blocks, and does not list them; "
            f"there is one of {', '.join(MAP_TIERS)}",
            param="tier",
        )
    return Fields(query).choice("tier", MAP_TIERS) or "gpu"
