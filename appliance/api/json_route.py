"""Routes that answer with one JSON body and start no generation: counting, looking up, deleting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from appliance.api.asgi import headers_of, read_body
from appliance.api.exchange import Parsed, Service
from appliance.api.guard import request_id_of
from appliance.api.problems import Envelope
from appliance.errors import RequestError

Answer = Callable[[], Awaitable[Any]]


async def read_object(request: Request, service: Service) -> Parsed:
    """The JSON object that a request carries. Raises `InvalidRequest` or `BodyTooLarge`."""
    return await service.parse(await read_body(request.scope, request.receive, service.max_body_bytes))


def headers_in(request: Request) -> dict[str, str]:
    """Header names in lower case, as codecs take them."""
    return headers_of(request.scope)


def json_response(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def answered(request: Request, envelope: Envelope, answer: Answer) -> Response:
    """What `answer` returns as JSON, a whole response as it is, and the `RequestError` that it raises in the protocol's
    envelope."""
    try:
        found = await answer()
        return found if isinstance(found, Response) else json_response(found)
    except RequestError as error:
        problem = envelope(error, request_id_of(request.scope))
        headers = {name.decode(): value.decode() for name, value in problem.headers}
        return Response(problem.body, problem.status, headers, "application/json")
