"""Tools as a responses client knows them, and by which name a model does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.conversation import ToolKind

# Some clients put all their functions into this one: it says nothing that a name needs.
PLAIN_NAMESPACE: Final = "functions"
JOINT: Final = "__"


@dataclass(frozen=True, slots=True)
class ClientName:
    """How a client wants a call of a tool to be told."""

    name: str
    namespace: str | None = None
    kind: ToolKind = ToolKind.FUNCTION


def model_name(namespace: str | None, name: str) -> str:
    """One name for a tool in a namespace; the same whatever else there is, so that a prompt does not change with it."""
    if namespace is None or namespace == PLAIN_NAMESPACE:
        return name
    return f"{namespace.removesuffix(JOINT)}{JOINT}{name}"
