"""The routes, one function for each group of them."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.codec import Codec
from appliance.api.exchange import Exchange, Service
from appliance.api.views import BoxStatus
from appliance.errors import UnknownModel, nearest
from appliance.generation import Inference, ModelCard

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GENERATION_DOCS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
                        "stream": {"type": "boolean"},
                    },
                    "additionalProperties": True,
                }
            }
        },
    }
}


def add_operator_routes(app: FastAPI, box: Box) -> None:
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
    @app.get("/v1/models", summary="The models that this box serves")
    async def models() -> Response:
        return _json({"object": "list", "data": [_model_body(card) for card in inference.models()]})

    @app.get("/v1/models/{model_id:path}", summary="One model")
    async def model(model_id: str) -> Response:
        cards = {card.id: card for card in inference.models()}
        if model_id not in cards:
            known = nearest(model_id, cards) or next(iter(cards), None)
            hint = f"There is {known!r}." if known else None
            raise UnknownModel(f"no model {model_id!r} here", param="model", code="model_not_found", hint=hint)
        return _json(_model_body(cards[model_id]))


def add_generation_route(app: FastAPI, path: str, service: Service, codec: Codec) -> None:
    async def generate(_: Request) -> Response:
        return Exchange(service, codec)

    app.add_api_route(path, generate, methods=["POST"], summary="Generate", openapi_extra=GENERATION_DOCS)


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
