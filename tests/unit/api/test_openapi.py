"""The OpenAPI document against the routes: what it says of them is true for requests that fit it and for others.

`OPENAPI_EXAMPLES=2000 pytest tests/unit/api/test_openapi.py` asks each route that often instead of a few times.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from appliance.conversation import Conversation
from appliance.generation import Delta, Finished, FinishReason, ToolCallDelta
from tests.unit.api.scripted import STARTED, USAGE, ScriptedInference, ScriptedRequest, Step, new_app

NUM_EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "5"))
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


@described.parametrize()
@settings(max_examples=NUM_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_is_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)
