"""Reading a prompt into the cache before anybody asks for its answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from fastapi import FastAPI, Request
from msgspec import Struct
from starlette.responses import Response

from appliance.api.codec import Codec
from appliance.api.exchange import Parsed, Service, request_errors_only
from appliance.api.fields import Fields
from appliance.api.json_route import answered, headers_in, read_object
from appliance.api.local import refuse_strangers
from appliance.api.problems import openai_problem
from appliance.conversation import LOWEST_PRIORITY, Conversation, Identity, OutputFormat, Sampling
from appliance.errors import GenerationFailed, InvalidRequest, nearest
from appliance.generation import Started

Api = Literal["chat", "responses", "messages"]
Codecs = Mapping[str, Codec]
"""By the names of `Api`."""


class WarmRequest(Struct):
    """`request` is the body of a request of that `api`, `worker` the one that is to have its prompt in its cache."""

    api: Api
    request: dict[str, Any]
    worker: int | None = None


class Warmed(Struct, frozen=True):
    """The prompt is in the cache of `worker` now; `cached_tokens` of its `prompt_tokens` were before."""

    prompt_tokens: int
    cached_tokens: int
    worker: int


def add_warm_route(app: FastAPI, service: Service, codecs: Codecs) -> None:
    @app.post("/box/v1/warm")
    async def warm(request: Request) -> Response:
        async def warmed() -> Warmed:
            refuse_strangers(request.scope, "prompts can be warmed up")
            conversation = await _conversation(await read_object(request, service), headers_in(request), codecs)
            with service.admission.slot():
                return await _warmed(service, conversation)

        return await answered(request, openai_problem, warmed)


async def _conversation(parsed: Parsed, headers: Mapping[str, str], codecs: Codecs) -> Conversation:
    body = Fields(parsed.body)
    api = body.required_string("api")
    codec = codecs.get(api)
    if codec is None:
        raise InvalidRequest(
            f"api = {api!r}: it is one of {', '.join(codecs)}", param="api", hint=_hint(nearest(api, codecs))
        )
    asked = parsed.body.get("request")
    if not isinstance(asked, dict):
        raise InvalidRequest("request: the body of a request is needed here, as an object", param="request")
    worker = body.integer("worker", 0)
    return _prompt_only((await codec.decode(asked, headers, parsed.offload)).conversation, worker)


def _hint(near: str | None) -> str | None:
    return f"Did you mean {near!r}?" if near else None


def _prompt_only(conversation: Conversation, worker: int | None) -> Conversation:
    """The same prompt with one token of answer, which is nobody's turn and can wait for everything else."""
    hints = replace(
        conversation.hints,
        priority=LOWEST_PRIORITY,
        strict_priority=None,
        output_tokens=None,
        speculative_prefill=False,
        worker=conversation.hints.worker if worker is None else worker,
    )
    return replace(
        conversation,
        hints=hints,
        identity=Identity(client=conversation.identity.client),
        sampling=Sampling(max_tokens=1),
        output_format=OutputFormat(),
    )


async def _warmed(service: Service, conversation: Conversation) -> Warmed:
    name = f"warm-{service.new_token()}"
    with request_errors_only(name):
        prepared = await service.inference.prepare(conversation, name)
        started: Started | None = None
        async with aclosing(prepared.events()) as events:
            async for event in events:
                started = event if isinstance(event, Started) else started
    if started is None:
        raise GenerationFailed("the engine ended this request before its prompt was read", code="unfinished")
    return Warmed(started.prompt_tokens, started.cached_tokens, started.worker)
