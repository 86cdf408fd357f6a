"""The routes of responses: making them, and what can be done with those that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from msgspec import Raw, Struct
from starlette.responses import Response

from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import Documents
from appliance.api.exchange import Service
from appliance.api.fields import INT64_MAX, Fields, refusal
from appliance.api.item_pages import item_page, number_in
from appliance.api.json_route import answered, headers_in, read_object
from appliance.api.offload import Offload
from appliance.api.problems import openai_problem
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_background import BackgroundRuns
from appliance.api.responses_compact import CompactCodec
from appliance.api.responses_exchange import Following, ResponsesExchange
from appliance.api.responses_keeping import Keeper
from appliance.api.responses_store import Deleted, ResponseStore, StoredResponse, required_response
from appliance.api.routes import add_exchange, add_generation_route
from appliance.api.seal import Seal
from appliance.errors import InvalidRequest

STREAM_WORDS: Final = {"true": True, "false": False}


class InputTokens(Struct, frozen=True):
    input_tokens: int
    object: str = "response.input_tokens"


@dataclass(frozen=True, slots=True)
class Responses:
    """Everything that the routes of responses share."""

    service: Service
    codec: ResponsesCodec
    compact: CompactCodec
    store: ResponseStore
    keeper: Keeper
    runs: BackgroundRuns

    async def cancel(self, response_id: str) -> Raw:
        """A response that has ended stays as it is."""
        response = await required_response(self.store, response_id)
        if not response.is_background:
            raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id", code="invalid_value")
        await self.runs.cancel(response_id)
        return Raw((await required_response(self.store, response_id)).body)

    async def delete(self, response_id: str) -> Deleted:
        """One that is being made is cancelled first."""
        await required_response(self.store, response_id)
        await self.runs.cancel(response_id)
        await self.store.delete_response(response_id)
        return Deleted(response_id, "response")

    async def count(self, body: Mapping[str, Any], headers: Mapping[str, str], offload: Offload) -> InputTokens:
        models = self.service.inference.models()
        read = await self.codec.read(Fields(body), headers, model=models[0].id if models else None, offload=offload)
        return InputTokens(await self.service.inference.count_tokens(read.conversation))

    def following(self, response: StoredResponse, query: Mapping[str, str]) -> Following:
        """Raises `InvalidRequest` for a response whose events are not there."""
        run = self.runs.find(response.id)
        if run is None:
            what = "its events are gone" if response.is_background else "only background responses can"
            message = f"Response {response.id!r} cannot be streamed: {what}. Retrieve it without stream."
            raise InvalidRequest(message, param="stream", code="invalid_value")
        seen = number_in(query, "starting_after", 0, INT64_MAX)
        return Following(self.service, self.codec, run.log, 0 if seen is None else seen + 1)


def responses_of(
    service: Service, store: ResponseStore, seal: Seal, diagnostics: Diagnostics, documents: Documents
) -> Responses:
    codec = ResponsesCodec(
        store,
        seal=seal,
        diagnostics=diagnostics,
        documents=documents,
        new_token=service.new_token,
        clock=service.clock,
    )
    keeper = Keeper(store)
    runs = BackgroundRuns(keeper, service.admission)
    return Responses(service, codec, CompactCodec(codec, seal=seal), store, keeper, runs)


def add_responses_routes(app: FastAPI, responses: Responses) -> None:
    """Fixed paths come before those with an id."""
    _add_making(app, responses)
    _add_kept(app, responses)


def _add_making(app: FastAPI, responses: Responses) -> None:
    service = responses.service

    making = ResponsesExchange(service, responses.codec, responses.keeper, responses.runs)
    add_exchange(app, "/v1/responses", making)

    @app.post("/v1/responses/input_tokens")
    async def input_tokens(request: Request) -> Response:
        async def count() -> Any:
            body, offload = await read_object(request, service)
            return await responses.count(body, headers_in(request), offload)

        return await answered(request, openai_problem, count)

    add_generation_route(app, "/v1/responses/compact", service, responses.compact)


def _add_kept(app: FastAPI, responses: Responses) -> None:
    store = responses.store

    @app.get("/v1/responses/{response_id}")
    async def retrieve(response_id: str, request: Request) -> Response:
        async def found() -> Any:
            response = await required_response(store, response_id)
            return responses.following(response, request.query_params) if _streams(request) else Raw(response.body)

        return await answered(request, openai_problem, found)

    @app.delete("/v1/responses/{response_id}")
    async def delete(response_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: responses.delete(response_id))

    @app.post("/v1/responses/{response_id}/cancel")
    async def cancel(response_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: responses.cancel(response_id))

    @app.get("/v1/responses/{response_id}/input_items")
    async def input_items(response_id: str, request: Request) -> Response:
        async def page() -> Any:
            return item_page((await required_response(store, response_id)).context, request.query_params)

        return await answered(request, openai_problem, page)


def _streams(request: Request) -> bool:
    word = request.query_params.get("stream", "false")
    if word not in STREAM_WORDS:
        raise refusal("stream", word, "true or false")
    return STREAM_WORDS[word]
