"""The routes of the messages API."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.anthropic_problems import anthropic_problem
from appliance.api.exchange import Service
from appliance.api.json_route import answered, headers_in, read_object
from appliance.api.messages import MessagesCodec
from appliance.api.messages_bodies import TokenCount
from appliance.api.routes import add_generation_route, generation_docs

MESSAGES_DOCS: Final = generation_docs("model", "max_tokens", "messages")
COUNT_DOCS: Final = generation_docs("model", "messages")


def add_messages_routes(app: FastAPI, service: Service, codec: MessagesCodec) -> None:
    add_generation_route(app, "/v1/messages", service, codec, docs=MESSAGES_DOCS)

    async def count_tokens(request: Request) -> Response:
        async def count() -> TokenCount:
            return await codec.count(await read_object(request, service.max_body_bytes), headers_in(request))

        return await answered(request, anthropic_problem, count)

    app.add_api_route(
        "/v1/messages/count_tokens", count_tokens, methods=["POST"], summary="Count tokens", openapi_extra=COUNT_DOCS
    )
