"""The routes, one function for each group of them."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.codec import Codec
from appliance.api.envelopes import envelope_of, speaks_anthropic
from appliance.api.exchange import Exchange, Service
from appliance.api.json_route import answered
from appliance.api.model_list import PAGING_DOCS, model_body, model_page
from appliance.api.views import BoxStatus
from appliance.errors import UnknownModel, nearest
from appliance.generation import Inference, ModelCard

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIELD_SCHEMAS: dict[str, dict[str, Any]] = {
    "model": {"type": "string"},
    "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
    "max_tokens": {"type": "integer", "minimum": 0},
}
ERROR_DOCS = {"description": "An error, in the envelope of the protocol"}


def generation_docs(*required: str) -> dict[str, Any]:
    """What the OpenAPI document says of a route that takes a conversation with these fields, and any others."""
    schema = {
        "type": "object",
        "required": list(required),
        "properties": {**{name: FIELD_SCHEMAS.get(name, {}) for name in required}, "stream": {"type": "boolean"}},
        "additionalProperties": True,
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"default": ERROR_DOCS},
    }


def add_operator_routes(app: FastAPI, box: Box) -> None:
    @app.head("/", summary="200 while the process answers; agents ask before their first request")
    async def root() -> Response:
        return Response()

    @app.get("/health", summary="200 while the process answers")
    async def health() -> Response:
        return _json({"status": "ok", "phase": box.status().phase})

    @app.get("/ready", summary="200 when a request would be taken, else 503")
    async def ready() -> Response:
        status = box.status()
        is_ready = box.is_ready()
        num_running = sum(worker.phase == "running" for worker in status.workers)
        body = {
            "ready": is_ready,
            "phase": status.phase,
            "workers_ready": num_running,
            "workers_total": len(status.workers),
        }
        return _json(body, status_code=200 if is_ready else 503)

    @app.get("/metrics", summary="Prometheus text format")
    async def metrics() -> Response:
        return Response(box.metrics(), media_type=METRICS_TYPE)

    @app.get("/box/v1/status", summary="The whole box at one moment", response_model=BoxStatus)
    async def status() -> Response:
        return Response(box.status().model_dump_json(), media_type="application/json")


def add_model_routes(app: FastAPI, inference: Inference) -> None:
    """A client that names a version of Anthropic's protocol gets its shape."""
    page_docs = {"parameters": PAGING_DOCS, "responses": {"default": ERROR_DOCS}}

    @app.get("/v1/models", summary="The models that this box serves", openapi_extra=page_docs)
    async def models(request: Request) -> Response:
        async def listed() -> Any:
            if speaks_anthropic(request.scope):
                return model_page(inference.models(), request.query_params)
            return {"object": "list", "data": [_model_body(card) for card in inference.models()]}

        return await answered(request, envelope_of(request.scope), listed)

    @app.get("/v1/models/{model_id:path}", summary="One model", openapi_extra={"responses": {"default": ERROR_DOCS}})
    async def model(model_id: str, request: Request) -> Response:
        async def found() -> Any:
            card = _card(inference.models(), model_id)
            return model_body(card) if speaks_anthropic(request.scope) else _model_body(card)

        return await answered(request, envelope_of(request.scope), found)


def add_generation_route(
    app: FastAPI, path: str, service: Service, codec: Codec, *, docs: dict[str, Any] | None = None
) -> None:
    async def generate(_: Request) -> Response:
        return Exchange(service, codec)

    extra = docs or generation_docs("model", "messages")
    app.add_api_route(path, generate, methods=["POST"], summary="Generate", openapi_extra=extra)


def _card(cards: tuple[ModelCard, ...], model_id: str) -> ModelCard:
    by_id = {card.id: card for card in cards}
    if model_id not in by_id:
        known = nearest(model_id, by_id) or next(iter(by_id), None)
        hint = f"There is {known!r}." if known else None
        raise UnknownModel(f"no model {model_id!r} here", param="model", code="model_not_found", hint=hint)
    return by_id[model_id]


def _model_body(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "dynamo-box",
        "max_model_len": card.context_tokens,
        "context_window": card.context_tokens,
    }


def _json(body: dict[str, Any], status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code, media_type="application/json")
