"""The routes of the messages API."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.anthropic_problems import anthropic_problem
from appliance.api.exchange import Service
from appliance.api.json_route import answered, headers_in, read_object
from appliance.api.messages import MessagesCodec
from appliance.api.messages_bodies import TokenCount
from appliance.api.routes import add_generation_route


def add_messages_routes(app: FastAPI, service: Service, codec: MessagesCodec) -> None:
    add_generation_route(app, "/v1/messages", service, codec)

    @app.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        async def count() -> TokenCount:
            body, offload = await read_object(request, service)
            return await codec.count(body, headers_in(request), offload)

        return await answered(request, anthropic_problem, count)
