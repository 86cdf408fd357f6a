"""The router's decisions, past ones and one that might be, for those on the box's own machine."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.codec import Codec
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.history_routes import seconds_in
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered, headers_in, read_object
from appliance.api.local import refuse_strangers
from appliance.api.offload import Offload
from appliance.api.problems import NothingOfThisName, openai_problem
from appliance.api.routing_views import (
    DEFAULT_LISTED,
    DEFAULT_RESERVE_SECONDS,
    MAX_LISTED,
    MAX_RESERVE_SECONDS,
    Freed,
    PlacementView,
    RequestRouting,
)
from appliance.conversation import Conversation
from appliance.errors import InvalidRequest

Codecs = Mapping[str, Codec]
"""By the name of their API."""

ROUTING = "routing can be looked at"


def add_routing_routes(app: FastAPI, box: Box, service: Service, codecs: Codecs) -> None:
    _add_history_routes(app, box)

    @app.post("/box/v1/route")
    async def place(request: Request) -> Response:
        async def placed() -> PlacementView:
            refuse_strangers(request.scope, "places can be asked for")
            body, offload = await read_object(request, service)
            fields = Fields(body)
            reserve_seconds = _reserve_seconds(fields)
            asked = await _asked(fields, codecs, headers_in(request), offload)
            return await box.routing().place(asked, reserve_seconds)

        return await answered(request, openai_problem, placed)

    @app.delete("/box/v1/route/{reservation}")
    async def free(reservation: str, request: Request) -> Response:
        async def freed() -> Freed:
            refuse_strangers(request.scope, "places can be freed")
            if not box.routing().free(reservation):
                raise NothingOfThisName(
                    f"no place is reserved as {reservation!r}; its time may be over", code="no_reservation"
                )
            return Freed(reservation)

        return await answered(request, openai_problem, freed)


def _add_history_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/routing")
    async def newest(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, ROUTING)
            limit = number_in(request.query_params, "limit", 1, MAX_LISTED) or DEFAULT_LISTED
            return box.routing().newest(limit)

        return await answered(request, openai_problem, listed)

    @app.get("/box/v1/routing/history")
    async def history(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, ROUTING)
            query = request.query_params
            limit = number_in(query, "limit", 1, MAX_LISTED) or DEFAULT_LISTED
            return await box.history().decisions(seconds_in(query, "until"), limit)

        return await answered(request, openai_problem, listed)

    @app.get("/box/v1/routing/{request_id}")
    async def of_request(request_id: str, request: Request) -> Response:
        async def found() -> RequestRouting:
            refuse_strangers(request.scope, ROUTING)
            decisions = box.routing().of_request(request_id)
            if not decisions:
                message, hint = f"no decision about {request_id!r} is remembered", "Use the id of a recent answer."
                raise NothingOfThisName(message, code="no_decision", hint=hint)
            return RequestRouting(request_id, decisions)

        return await answered(request, openai_problem, found)


def _reserve_seconds(fields: Fields) -> float | None:
    seconds = fields.number("seconds", 0, MAX_RESERVE_SECONDS, above_low=True)
    if not fields.flag("reserve"):
        return None
    return DEFAULT_RESERVE_SECONDS if seconds is None else seconds


async def _asked(
    fields: Fields, codecs: Codecs, headers: Mapping[str, str], offload: Offload
) -> Conversation | array[int]:
    token_ids = fields.array("token_ids")
    if token_ids is None:
        api = fields.choice("api", codecs)
        if api is None:
            raise fields.refuse("api", f"one of {', '.join(codecs)}, with a request; or token_ids")
        call = await codecs[api].decode(fields.required_object("request").values(), headers, offload)
        return call.conversation
    if fields.raw("request") is not None:
        raise InvalidRequest("token_ids and request exclude each other; use one of them", param="token_ids")
    try:
        return array("I", token_ids)
    except (TypeError, OverflowError):
        raise fields.refuse("token_ids", "integers from 0 to 4294967295") from None
