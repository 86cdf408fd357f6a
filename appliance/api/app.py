"""The HTTP side put together."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from appliance.api.admission import Admission
from appliance.api.block_routes import add_block_routes
from appliance.api.box import Box
from appliance.api.cache_routes import add_cache_routes
from appliance.api.chat import ChatCodec
from appliance.api.completions_routes import add_completions_route
from appliance.api.conversations import Conversations, add_conversation_routes
from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import Documents
from appliance.api.envelopes import envelope_of
from appliance.api.event_routes import add_event_routes
from appliance.api.eviction_routes import add_eviction_routes
from appliance.api.exchange import Service
from appliance.api.guard import Guard, request_id_of
from appliance.api.hint_routes import add_hint_routes
from appliance.api.history_routes import add_history_routes
from appliance.api.keys import Keys
from appliance.api.messages import MessagesCodec
from appliance.api.messages_routes import add_messages_routes
from appliance.api.openapi.routes import add_document_routes
from appliance.api.policy_routes import add_policy_routes
from appliance.api.problems import MethodNotAllowed, NoSuchRoute
from appliance.api.request_routes import add_cancel_route, add_request_routes
from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_routes import add_responses_routes, responses_of
from appliance.api.responses_store import ResponseStore
from appliance.api.routes import add_generation_route, add_model_routes, add_operator_routes
from appliance.api.routing_routes import add_routing_routes
from appliance.api.seal import KEY_BYTES, Seal
from appliance.api.warm_routes import add_warm_route
from appliance.api.whatif_routes import add_whatif_routes
from appliance.errors import InvalidRequest, nearest
from appliance.generation import Inference

KEEP_ALIVE_SECONDS = 15.0
STALL_SECONDS = 60.0
MAX_DIAGNOSED_ANSWERS = 4096


def create_app(  # noqa: PLR0913 – every part of the whole API that a test may replace
    inference: Inference,
    box: Box,
    *,
    api_keys: frozenset[str] = frozenset(),
    operator_keys: frozenset[str] = frozenset(),
    read_only_keys: frozenset[str] = frozenset(),
    max_body_bytes: int,
    max_requests: int,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    stall_seconds: float = STALL_SECONDS,
    clock: Callable[[], float] = time.time,
    new_token: Callable[[], str] = lambda: uuid.uuid4().hex,
    seal: Seal | None = None,
    store: ResponseStore | None = None,
) -> FastAPI:
    """The whole API over one box.

    With `api_keys`, `/v1/` and `/box/` need one of them, except over a Unix socket; the other keys are as `Keys` takes
    them. At most `max_requests` generations run at a time; one more is turned away with 503. A stream that is quiet for
    `keep_alive_seconds` gets a comment, one that its client takes nothing of for `stall_seconds` is ended.
    Without a `seal`, thoughts are signed with a key that ends with the process. Without a `store`, responses and
    conversations are kept in memory, as many as there is room for.
    """
    seal = seal or Seal(os.urandom(KEY_BYTES))
    service = Service(
        inference, Admission(max_requests), max_body_bytes, keep_alive_seconds, stall_seconds, clock, new_token
    )
    diagnostics, documents = Diagnostics(MAX_DIAGNOSED_ANSWERS), Documents()
    responses = responses_of(service, MemoryStore() if store is None else store, seal, diagnostics, documents)
    chat = ChatCodec(diagnostics=diagnostics, documents=documents)
    messages = MessagesCodec(inference, seal=seal, diagnostics=diagnostics, documents=documents)
    app = FastAPI(title="dynamo-box", openapi_url=None, redirect_slashes=False, lifespan=responses.runs.lifespan)
    add_document_routes(app)
    add_operator_routes(app, box)
    add_policy_routes(app, box, service)
    add_routing_routes(app, box, service, {"chat": chat, "messages": messages, "responses": responses.codec})
    add_eviction_routes(app, box)
    add_history_routes(app, box)
    add_event_routes(app, box, service)
    add_block_routes(app, box)
    add_hint_routes(app, box, service)
    add_whatif_routes(app, box, service)
    add_cache_routes(app, box, service)
    add_request_routes(app, box)
    add_cancel_route(app, box)
    add_model_routes(app, inference)
    add_warm_route(app, service, {"chat": chat, "responses": responses.codec, "messages": messages})
    add_generation_route(app, "/v1/chat/completions", service, chat)
    add_completions_route(app, service)
    add_messages_routes(app, service, messages)
    add_responses_routes(app, responses)
    add_conversation_routes(app, Conversations(service, responses.codec, responses.store), service)
    app.add_middleware(Guard, keys=Keys(api_keys, operator_keys, read_only_keys), new_token=new_token)
    app.add_exception_handler(HTTPException, _refuse_route)
    return app


async def _refuse_route(request: Request, error: Exception) -> Response:
    """What the router refuses, in the shape of every other error."""
    if not isinstance(error, HTTPException):
        raise TypeError(f"registered for HTTPException, called with {type(error).__name__}")
    problem = envelope_of(request.scope)(_route_problem(request, error), request_id_of(request.scope))
    return Response(problem.body, problem.status, error.headers, "application/json")


def _route_problem(request: Request, error: HTTPException) -> InvalidRequest:
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        hint = f"Use {allowed}."
        return MethodNotAllowed(f"{path} does not take {request.method}", code="method_not_allowed", hint=hint)
    paths = [route.path for route in request.app.routes if isinstance(route, Route)]
    close = nearest(path, paths)
    hint = f"Did you mean {close}?" if close else "GET /docs lists the routes."
    return NoSuchRoute(f"there is no {path} here", code="unknown_route", hint=hint)
