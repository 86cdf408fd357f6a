"""The OpenAPI document against the routes: what it says of them is true for requests that fit it and for others.

`OPENAPI_EXAMPLES=2000 pytest tests/unit/api/test_openapi.py` asks each route that often instead of a few times.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.routing import Route

from appliance.api.openapi.operations import OPERATIONS
from appliance.conversation import Conversation
from appliance.errors import GenerationFailed, TooManyRequests
from appliance.generation import Delta, Finished, FinishReason, ToolCallDelta
from tests.examples import examples
from tests.unit.api.scripted import (
    STARTED,
    USAGE,
    ScriptedBox,
    ScriptedInference,
    ScriptedRequest,
    Step,
    client_of,
    new_app,
)

NUM_EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES") or examples(20))
IS_THOROUGH = NUM_EXAMPLES > 100
EVERYTHING: list[Step] = [
    STARTED,
    Delta(0, thinking="Hm"),
    Delta(0, text="Hel"),
    Delta(0, text="lo"),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "read", '{"a":'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments=" 1}"),)),
    Delta(0, finish=FinishReason.TOOL_CALLS),
    Finished(USAGE),
]


class EveryChoice(ScriptedInference):
    """Plays the deltas for each choice that is asked for."""

    async def prepare(self, conversation: Conversation, request_id: str) -> ScriptedRequest:
        deltas = [step for step in EVERYTHING if isinstance(step, Delta)]
        choices = [replace(delta, choice=number) for number in range(conversation.sampling.n) for delta in deltas]
        return ScriptedRequest(ScriptedInference([STARTED, *choices, Finished(USAGE)]))


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]

app = new_app(EveryChoice(), max_body_bytes=10**6)
config = SchemathesisConfig.from_dict({"phases": {"coverage": {"enabled": IS_THOROUGH}}})
described = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)


@described.hook
def map_body(context: Any, body: Any) -> Any:
    """A response that goes on from nothing must have an input, which the schema does not say."""
    if context.operation.path.startswith("/v1/responses") and isinstance(body, dict):
        kept = {name: value for name, value in body.items() if name not in ("conversation", "previous_response_id")}
        return kept if kept.get("input") else kept | {"input": "Hi"}
    return body


@described.parametrize()
@settings(max_examples=NUM_EXAMPLES, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_is_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)


def ask(operation: str, on: FastAPI = app, **parts: Any) -> schemathesis.Response:
    """One request to `METHOD /path`, whose answer must be as described. Returns it."""
    method, path = operation.split()
    case = described[path][method].Case(**parts)
    answer = case.call(app=on)
    case.validate_response(answer, checks=[check for check in CHECKS if check is not not_a_server_error])
    return answer


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {
        (method, route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"} | ({"HEAD"} if route.path == "/" else set())
    }
    assert routes - {("GET", "/openapi.json"), ("GET", "/docs")} == OPERATIONS.keys()


async def test_the_page_that_shows_the_document_names_it() -> None:
    async with client_of(app) as client:
        assert "/openapi.json" in (await client.get("/docs")).text


STREAMED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "logprobs": True},
    "/v1/completions": {"model": "m", "prompt": ["a", "b"]},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": "m", "input": "Hi"},
}


@pytest.mark.parametrize("path", STREAMED)
def test_streams_are_described_event_by_event(path: str) -> None:
    answer = ask(f"POST {path}", body=STREAMED[path] | {"stream": True})
    assert answer.headers["content-type"] == ["text/event-stream; charset=utf-8"]
    strict = deepcopy(described.raw_schema)
    event = strict["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
    event["properties"]["data"] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"required": ["what no event has"]},
    }
    case = schemathesis.openapi.from_dict(strict)[path]["POST"].Case(body=STREAMED[path])
    with pytest.raises(FailureGroup):
        case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_generation_that_fails_is_described(path: str, is_streamed: bool) -> None:
    broken = new_app(ScriptedInference([STARTED, Delta(0, text="Hm"), GenerationFailed("no")]))
    status = ask(f"POST {path}", broken, body=STREAMED[path] | {"stream": is_streamed}).status_code
    assert status == (200 if is_streamed else 500)


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        ({"max_requests": 0}, (503, 529)),
        ({"api_keys": frozenset({"other"})}, (401,)),
        ({"max_body_bytes": 1}, (413,)),
    ],
)
def test_refusals_are_described(path: str, options: dict[str, Any], statuses: tuple[int, ...]) -> None:
    assert ask(f"POST {path}", new_app(ScriptedInference(), **options), body=STREAMED[path]).status_code in statuses


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_full_queue_is_described_and_tells_when_to_come_again(path: str, is_streamed: bool) -> None:
    full = new_app(ScriptedInference(refusal=TooManyRequests("full", retry_after_seconds=7)))
    answer = ask(f"POST {path}", full, body=STREAMED[path] | {"stream": is_streamed})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, ["7"])


def test_what_is_kept_is_described() -> None:
    """A conversation and a response from their beginning to their end."""
    created = ask("POST /v1/conversations", body={"items": [{"type": "message", "role": "user", "content": "Hi"}]})
    conversation = {"conversation_id": created.json()["id"]}
    ask("GET /v1/conversations/{conversation_id}", path_parameters=conversation)
    ask("POST /v1/conversations/{conversation_id}", path_parameters=conversation, body={"metadata": {"a": "b"}})
    more = {"items": [{"type": "message", "role": "user", "content": "Ho"}]}
    added = ask("POST /v1/conversations/{conversation_id}/items", path_parameters=conversation, body=more)
    item = conversation | {"item_id": added.json()["data"][0]["id"]}
    page = ask("GET /v1/conversations/{conversation_id}/items", path_parameters=conversation, query={"limit": 1})
    assert page.json()["has_more"]
    ask("GET /v1/conversations/{conversation_id}/items/{item_id}", path_parameters=item)
    ask("DELETE /v1/conversations/{conversation_id}/items/{item_id}", path_parameters=item)

    body = {"model": "m", "input": "Hi", "conversation": conversation["conversation_id"], "background": True}
    response = {"response_id": ask("POST /v1/responses", body=body).json()["id"]}
    ask("GET /v1/responses/{response_id}", path_parameters=response)
    ask("POST /v1/responses/{response_id}/cancel", path_parameters=response)
    ask("GET /v1/responses/{response_id}/input_items", path_parameters=response)
    for operation, parts in (
        ("DELETE /v1/responses/{response_id}", response),
        ("DELETE /v1/conversations/{conversation_id}", conversation),
    ):
        assert ask(operation, path_parameters=parts).status_code == 200
        assert ask(operation, path_parameters=parts).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
def test_models_are_described_in_both_shapes(headers: dict[str, str]) -> None:
    assert ask("GET /v1/models", headers=headers).status_code == 200
    assert (
        ask("GET /v1/models/{model_id}", headers=headers, path_parameters={"model_id": "org/small"}).status_code == 200
    )
    assert ask("GET /v1/models/{model_id}", headers=headers, path_parameters={"model_id": "x"}).status_code == 404


def test_a_box_that_is_not_ready_is_described() -> None:
    assert ask("GET /ready", new_app(ScriptedInference(), ScriptedBox(is_ready=False))).status_code == 503
