"""What only operators may see or do: those on the box's own machine, and who has a key for it."""

from __future__ import annotations

from starlette.types import Scope

from appliance.api.keys import Role
from appliance.api.problems import Forbidden

HINT = "From elsewhere a key of server.operator_keys or server.read_only_keys is needed."


def refuse_strangers(scope: Scope, what: str) -> None:
    """Raises `Forbidden` for a client; `what` is the beginning of its message. A viewer's key opens nothing that
    changes anything (`Keys.role`)."""
    if scope["state"]["role"] is Role.CLIENT:
        raise Forbidden(f"{what} from the box's own machine only", code="not_local", hint=HINT)
