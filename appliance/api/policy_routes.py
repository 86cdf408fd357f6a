"""The retention policy: shown to operators, checked, compared, and changed while the box runs."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.history_routes import seconds_in
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered, read_object
from appliance.api.local import refuse_strangers
from appliance.api.policy_views import MAX_NAME, MAX_NOTE, MAX_TEXT, PolicyChange, PolicyRollback, PolicyText
from appliance.api.problems import openai_problem
from appliance.errors import InvalidRequest

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 256
# Files are read by their names, and what is wrong in them is told.
READ = "policies can be read"


def add_policy_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/policy")
    async def policy(request: Request) -> Response:
        async def shown() -> Any:
            at = seconds_in(request.query_params, "at")
            if at is None:
                return box.policies().active()
            refuse_strangers(request.scope, READ)
            return box.policies().active_at(at)

        return await answered(request, openai_problem, shown)

    @app.put("/box/v1/policy")
    async def change(request: Request) -> Response:
        async def changed() -> Any:
            refuse_strangers(request.scope, "the policy can be changed")
            fields = Fields((await read_object(request, service)).body)
            text = policy_text_in(fields)
            return await box.policies().apply(PolicyChange(text.policy, text.text, text.name, *_author(fields)))

        return await answered(request, openai_problem, changed)

    _add_reading_routes(app, box, service)
    _add_history_routes(app, box, service)


def _add_reading_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/policy/fields")
    async def fields(request: Request) -> Response:
        async def told() -> Any:
            return box.policies().fields()

        return await answered(request, openai_problem, told)

    @app.post("/box/v1/policy/validate")
    async def validate(request: Request) -> Response:
        async def checked() -> Any:
            refuse_strangers(request.scope, READ)
            return await box.policies().check(policy_text_in(Fields((await read_object(request, service)).body)))

        return await answered(request, openai_problem, checked)

    @app.post("/box/v1/policy/diff")
    async def diff(request: Request) -> Response:
        async def compared() -> Any:
            refuse_strangers(request.scope, READ)
            return await box.policies().diff(policy_text_in(Fields((await read_object(request, service)).body)))

        return await answered(request, openai_problem, compared)


def _add_history_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/policy/history")
    async def history(request: Request) -> Response:
        async def listed() -> Any:
            refuse_strangers(request.scope, "the history of the policy can be seen")
            query = request.query_params
            most = number_in(query, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
            return box.policies().history(most, seconds_in(query, "until"))

        return await answered(request, openai_problem, listed)

    @app.post("/box/v1/policy/rollback")
    async def roll_back(request: Request) -> Response:
        async def rolled_back() -> Any:
            refuse_strangers(request.scope, "the policy can be changed")
            fields = Fields((await read_object(request, service)).body)
            return await box.policies().roll_back(PolicyRollback(fields.integer("version", 1), *_author(fields)))

        return await answered(request, openai_problem, rolled_back)


def policy_text_in(fields: Fields) -> PolicyText:
    """Raises `InvalidRequest` unless there is one of the two."""
    text = fields.short_string("text", MAX_TEXT)
    if text is None:
        return PolicyText(fields.required_string("policy"))
    if fields.raw("policy") is not None:
        raise InvalidRequest("policy and text exclude each other; use one of them", param="policy")
    return PolicyText(text=text, name=fields.short_string("name", MAX_NAME))


def _author(fields: Fields) -> tuple[str | None, str | None]:
    return fields.short_string("author", MAX_NAME), fields.short_string("note", MAX_NOTE)
