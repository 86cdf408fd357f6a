"""The active retention policy: shown to operators, and changed by those on this machine while the box runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from msgspec import Struct
from starlette.responses import Response

from appliance.api.box import Box
from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.json_route import answered, read_object
from appliance.api.nearby import refuse_strangers
from appliance.api.problems import openai_problem
from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy
from appliance.cache.rule_text import rule_facts
from appliance.errors import InvalidRequest


class PolicyBody(Struct, frozen=True):
    """The policy that is active now. `order` says who goes first of what is worth the same."""

    name: str
    description: str
    order: str
    rules: list[dict[str, Any]]


class PolicyChange(Struct, frozen=True):
    """`policy` is the name of a shipped policy, or the absolute path of a policy file on the box's machine."""

    policy: str


def add_policy_routes(app: FastAPI, box: Box, service: Service) -> None:
    @app.get("/box/v1/policy")
    async def policy(request: Request) -> Response:
        async def shown() -> Any:
            return policy_body(box.policy())

        return await answered(request, openai_problem, shown)

    @app.put("/box/v1/policy")
    async def change(request: Request) -> Response:
        async def changed() -> Any:
            # Files are read by their names, and what is wrong in them is told: that is for who is on this machine.
            refuse_strangers(request.scope, "the policy can be changed")
            chosen = Fields((await read_object(request, service)).body).required_string("policy")
            await box.apply_policy(_loaded(chosen))
            return policy_body(box.policy())

        return await answered(request, openai_problem, changed)


def policy_body(policy: Policy) -> PolicyBody:
    return PolicyBody(policy.name, policy.description, policy.order.value, [rule_facts(rule) for rule in policy.rules])


def _loaded(chosen: str) -> Policy:
    is_path = "/" in chosen or chosen.endswith(".toml")
    if is_path and not Path(chosen).is_absolute():
        raise InvalidRequest(f"policy = {chosen!r}: the path of a policy file must be absolute", param="policy")
    try:
        return load_policy(chosen)
    except InvalidPolicy as error:
        raise InvalidRequest(error.message, param="policy", code="invalid_policy") from error
