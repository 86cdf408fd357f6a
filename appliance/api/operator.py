"""What every change that an operator asks for may say in its URL."""

from __future__ import annotations

from fastapi import Request

from appliance.api.fields import Fields
from appliance.api.hint_views import MAX_NAME


def is_dry_run(request: Request) -> bool:
    """Whether it is only to be told what it would come to. Raises `InvalidRequest`."""
    return Fields(request.query_params).choice("dry_run", ("true", "false")) == "true"


def who_asks(request: Request) -> str:
    """`operator` if not said. Raises `InvalidRequest`."""
    return Fields(request.query_params).short_string("by", MAX_NAME) or "operator"
