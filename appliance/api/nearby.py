"""What is only for those on the box's own machine."""

from __future__ import annotations

from ipaddress import ip_address

from starlette.types import Scope

from appliance.api.keys import is_local_socket
from appliance.api.problems import Forbidden


def refuse_strangers(scope: Scope, what: str) -> None:
    """Raises `Forbidden`, saying that `what` only can be done from here, for a client on another machine."""
    client = scope.get("client")
    if not is_local_socket(scope) and not (client and _is_loopback(client[0])):
        raise Forbidden(f"{what} from the box's own machine only", code="not_local")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
