"""An operator's word on sessions, and what operators did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.hint_views import MAX_NAME, MAX_SECONDS, HintRequest
from appliance.api.history_routes import seconds_in
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered, read_object
from appliance.api.local import refuse_strangers
from appliance.api.operator import is_dry_run, who_asks
from appliance.api.problems import openai_problem
from appliance.conversation import LOWEST_PRIORITY

if TYPE_CHECKING:
    from appliance.api.hint_views import HintAction

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1024
MAX_TOKENS: Final = 2**31
TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "pin": ("token_start", "token_end", "priority", "expires_in"),
    "release": ("token_start", "token_end", "priority", "expires_in"),
    "ttl": ("token_end", "ttl_seconds", "expires_in"),
    "priority": ("priority", "expires_in"),
    "prefetch": ("worker",),
    "warm": (),
    "turn_finished": (),
}
"""What each verb takes beside the session."""
NEEDS: Final = {"ttl": "ttl_seconds", "priority": "priority"}
FIELDS: Final = tuple(dict.fromkeys(name for names in TAKES.values() for name in names))
HINTS = "hints name sessions: they can be seen"


def add_hint_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/hints")
    async def active(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, HINTS)
            at = seconds_in(request.query_params, "at")
            return box.hints().active() if at is None else await box.history().hints(at)

        return await answered(request, openai_problem, listed)

    @app.post("/box/v1/hints")
    async def ask(request: Request) -> Response:
        async def done() -> Any:
            refuse_strangers(request.scope, "hints can be given")
            asked = hint_request(Fields((await read_object(request, service)).body))
            return await box.hints().ask(asked, dry_run=is_dry_run(request))

        return await answered(request, openai_problem, done)

    @app.delete("/box/v1/hints/{hint}")
    async def withdraw(hint: str, request: Request) -> Response:
        async def withdrawn() -> Any:
            refuse_strangers(request.scope, "hints can be withdrawn")
            return await box.hints().withdraw(hint, who_asks(request))

        return await answered(request, openai_problem, withdrawn)

    @app.get("/box/v1/actions")
    async def actions(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, "what operators did can be seen")
            return box.actions(number_in(request.query_params, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT)

        return await answered(request, openai_problem, listed)


def hint_request(fields: Fields) -> HintRequest:
    """Raises `InvalidRequest` for a field that is wrong, missing, or not one of this verb's."""
    verb = fields.choice("verb", tuple(TAKES))
    if verb is None:
        raise fields.refuse("verb", f"one of {', '.join(TAKES)}")
    for name in FIELDS:
        if fields.raw(name) is not None and name not in TAKES[verb]:
            raise fields.refuse(name, f"it with {', '.join(each for each in TAKES if name in TAKES[each])} only")
    if (needed := NEEDS.get(verb)) is not None and fields.raw(needed) is None:
        raise fields.refuse(needed, "a number")
    start = fields.integer("token_start", 0, MAX_TOKENS)
    lowest, highest = (LOWEST_PRIORITY, -LOWEST_PRIORITY) if verb == "priority" else (0, 100)
    return HintRequest(
        cast("HintAction", verb),
        fields.required_string("session"),
        start,
        fields.integer("token_end", (start or 0) + 1, MAX_TOKENS),
        fields.integer("priority", lowest, highest),
        fields.number("ttl_seconds", 0, MAX_SECONDS, above_low=True),
        fields.number("expires_in", 0, MAX_SECONDS, above_low=True),
        fields.integer("worker", 0),
        fields.short_string("by", MAX_NAME),
    )
