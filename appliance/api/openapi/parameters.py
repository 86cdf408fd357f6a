"""Parameters and statuses that several operations have in common."""

from __future__ import annotations

from typing import Final

from appliance.api.event_routes import BEGINNINGS, EVENT_ID
from appliance.api.eviction_routes import MAX_LIMIT as MAX_EVICTIONS
from appliance.api.hint_views import MAX_NAME
from appliance.api.history_routes import LATEST_SECONDS
from appliance.api.history_views import MAX_LISTED as MAX_REMEMBERED
from appliance.api.item_pages import MAX_LIMIT, ORDERS
from appliance.api.model_list import MAX_LIMIT as MAX_MODELS
from appliance.api.openapi.operation import Parameter
from appliance.box_events import EVENT_TYPES

GENERATING: Final = (400, 404, 413, 429, 499, 500, 503)
COUNTING: Final = (400, 404, 413, 503)
CHANGING: Final = (400, 404, 413)
STREAM: Final = Parameter("stream", {"type": "boolean"})
VERSION: Final = Parameter("anthropic-version", {"type": "string", "examples": ["2023-06-01"]}, "header")
ITEM_PAGE: Final = (
    Parameter("after", {"type": "string"}),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    Parameter("order", {"type": "string", "enum": list(ORDERS)}),
)
EVICTION_PAGE: Final = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_EVICTIONS}),
    Parameter("since", {"type": "integer", "minimum": 0}),
)
EVENT_STREAM: Final = (
    Parameter("from", {"type": "string", "enum": list(BEGINNINGS)}),
    Parameter("follow", {"type": "boolean"}),
    Parameter("types", {"type": "string", "examples": [",".join(EVENT_TYPES[:2])]}),
    Parameter("last_event_id", {"type": "string", "pattern": EVENT_ID.pattern}),
    Parameter("last-event-id", {"type": "string", "pattern": EVENT_ID.pattern}, "header"),
)
MODEL_PAGE: Final = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_MODELS}),
    Parameter("after_id", {"type": "string"}),
    Parameter("before_id", {"type": "string"}),
)
DRY_RUN: Final = Parameter("dry_run", {"type": "boolean"})
BY: Final = Parameter("by", {"type": "string", "maxLength": MAX_NAME})
LISTED: Final = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_REMEMBERED})


def seconds(name: str) -> Parameter:
    """Seconds since 1970."""
    return Parameter(name, {"type": "number", "minimum": 0, "maximum": LATEST_SECONDS})


def in_path(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, {"type": "string", "minLength": 1}, "path") for name in names)


RESPONSE: Final = in_path("response_id")
CONVERSATION: Final = in_path("conversation_id")
ITEM: Final = in_path("conversation_id", "item_id")
