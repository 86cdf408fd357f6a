"""Which protocol an error is told in, where no codec has spoken yet."""

from __future__ import annotations

from starlette.types import Scope

from appliance.api.anthropic_problems import anthropic_problem
from appliance.api.asgi import headers_of
from appliance.api.problems import Envelope, openai_problem


def envelope_of(scope: Scope) -> Envelope:
    """Anthropic's for its own route and for clients that name a version of its protocol, else OpenAI's."""
    path: str = scope["path"]
    own_route = path.removeprefix(scope.get("root_path", "")).startswith("/v1/messages")
    return anthropic_problem if own_route or speaks_anthropic(scope) else openai_problem


def speaks_anthropic(scope: Scope) -> bool:
    """Whether the client names a version of Anthropic's protocol."""
    return "anthropic-version" in headers_of(scope)
