"""The routes, one function for each group of them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from appliance.api.box import Box
from appliance.api.codec import Codec
from appliance.api.envelopes import envelope_of, speaks_anthropic
from appliance.api.exchange import Exchange, Service
from appliance.api.json_route import answered, json_response
from appliance.api.model_list import OpenAIModels, model_body, model_page, openai_model
from appliance.api.views import BoxPhase
from appliance.errors import UnknownModel, nearest
from appliance.generation import Inference, ModelCard

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health(Struct, frozen=True):
    phase: BoxPhase
    status: str = "ok"


class Ready(Struct, frozen=True):
    ready: bool
    phase: BoxPhase
    workers_ready: int
    workers_total: int


def add_operator_routes(app: FastAPI, box: Box) -> None:
    @app.head("/")
    async def root() -> Response:
        return Response()

    @app.get("/health")
    async def health() -> Response:
        return json_response(Health(box.status().phase))

    @app.get("/ready")
    async def ready() -> Response:
        status = box.status()
        is_ready = box.is_ready()
        num_running = sum(worker.phase == "running" for worker in status.workers)
        body = Ready(is_ready, status.phase, num_running, len(status.workers))
        return json_response(body, 200 if is_ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(box.metrics(), media_type=METRICS_TYPE)

    @app.get("/box/v1/status")
    async def status() -> Response:
        return Response(box.status().model_dump_json(), media_type="application/json")


def add_model_routes(app: FastAPI, inference: Inference) -> None:
    """A client that names a version of Anthropic's protocol gets its shape."""

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        async def listed() -> Any:
            if speaks_anthropic(request.scope):
                return model_page(inference.models(), request.query_params)
            return OpenAIModels([openai_model(card) for card in inference.models()])

        return await answered(request, envelope_of(request.scope), listed)

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str, request: Request) -> Response:
        async def found() -> Any:
            card = _card(inference.models(), model_id)
            return model_body(card) if speaks_anthropic(request.scope) else openai_model(card)

        return await answered(request, envelope_of(request.scope), found)


def add_generation_route(app: FastAPI, path: str, service: Service, codec: Codec) -> None:
    add_exchange(app, path, Exchange(service, codec))


def add_exchange(app: FastAPI, path: str, exchange: Exchange) -> None:
    """Past FastAPI's own reading of a request, of which nothing is left to read."""
    app.router.routes.append(Route(path, exchange, methods=["POST"]))


def _card(cards: tuple[ModelCard, ...], model_id: str) -> ModelCard:
    by_id = {card.id: card for card in cards}
    if model_id not in by_id:
        known = nearest(model_id, by_id) or next(iter(by_id), None)
        hint = f"There is {known!r}." if known else None
        raise UnknownModel(f"no model {model_id!r} here", param="model", code="model_not_found", hint=hint)
    return by_id[model_id]
