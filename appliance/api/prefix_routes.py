"""What sessions' prompts share, for those on the box's own machine: it names sessions and quotes prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.fields import refusal
from appliance.api.item_pages import number_in
from appliance.api.json_route import answered
from appliance.api.local import refuse_strangers
from appliance.api.prefix_views import DEFAULT_PROMPTS, MAX_FORKED, MAX_PROMPTS, MAX_SEARCH, MAX_TEXT
from appliance.api.problems import openai_problem

PREFIXES = "prefixes name sessions and quote prompts: they can be seen"


def add_prefix_routes(app: FastAPI, box: Box) -> None:
    @app.get("/box/v1/prefixes")
    async def prefixes(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, PREFIXES)
            query = request.query_params
            limit = number_in(query, "limit", 1, MAX_PROMPTS) or DEFAULT_PROMPTS
            text = number_in(query, "text", 0, MAX_TEXT) or 0
            words = _words_in(query)
            if words is None:
                return await box.prefixes().prefixes(limit, text)
            return await box.prefixes().search(limit, text, words)

        return await answered(request, openai_problem, shown)

    @app.get("/box/v1/prefixes/fork")
    async def fork(request: Request) -> Response:
        async def shown() -> Any:
            refuse_strangers(request.scope, PREFIXES)
            return await box.prefixes().fork(_sessions_in(request.query_params.getlist("session")))

        return await answered(request, openai_problem, shown)


def _words_in(query: Mapping[str, str]) -> str | None:
    words = query.get("search")
    if words is not None and (not words.strip() or len(words) > MAX_SEARCH):
        raise refusal("search", words, f"1 to {MAX_SEARCH} characters that are not all blanks")
    return words


def _sessions_in(sessions: Sequence[str]) -> Sequence[str]:
    if not 2 <= len(sessions) <= MAX_FORKED:
        raise refusal("session", ", ".join(sessions), f"given 2 to {MAX_FORKED} times")
    return sessions
