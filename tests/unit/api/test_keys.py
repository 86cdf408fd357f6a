from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.keys import Keys, Role, is_local_socket, is_loopback
from appliance.api.problems import Forbidden
from appliance.errors import Unauthorized
from tests.unit.api.scripted import ScriptedInference, client_of, new_app

TCP: dict[str, Any] = {"client": ("10.0.0.1", 5), "server": ("10.0.0.2", 80)}
HERE: dict[str, Any] = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 80)}
UNIX: dict[str, Any] = {"client": None, "server": ("/run/box.sock", None)}


def scope(
    path: str = "/v1/models",
    headers: dict[str, str] | None = None,
    address: dict[str, Any] = TCP,
    method: str = "GET",
) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": pairs, **address}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer  two"},
        {"x-api-key": "two"},
        {"authorization": "Bearer wrong", "x-api-key": "one"},
    ],
)
def test_any_of_the_keys_opens_in_either_header(headers: dict[str, str]) -> None:
    Keys(["one", "two"]).role(scope(headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Basic one"},
        {"authorization": "one"},
        {"x-api-key": "on"},
        {"x-api-key": "one1"},
        {"x-api-key": "\xff"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/box/v1/status", "/v1/nothing"])
def test_everything_else_is_refused(headers: dict[str, str], path: str) -> None:
    with pytest.raises(Unauthorized):
        Keys(["one", "two"]).role(scope(path, headers))


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs"])
def test_what_probes_read_needs_no_key(path: str) -> None:
    Keys(["one"]).role(scope(path))


def test_without_keys_everything_is_open() -> None:
    Keys([]).role(scope())


def test_a_prefix_of_a_proxy_does_not_open_a_guarded_path() -> None:
    with pytest.raises(Unauthorized):
        Keys(["one"]).role(scope("/proxy/v1/models") | {"root_path": "/proxy"})


def test_a_unix_socket_needs_no_key() -> None:
    Keys(["one"]).role(scope(address=UNIX))


@pytest.mark.parametrize(
    "address",
    [
        TCP,
        {"client": None, "server": ("10.0.0.2", 80)},
        {"client": None, "server": None},
        {"client": ("10.0.0.1", 5), "server": ("/run/box.sock", None)},
    ],
)
def test_only_a_unix_socket_counts_as_local(address: dict[str, Any]) -> None:
    assert not is_local_socket(scope(address=address))


async def test_a_refusal_is_401_in_the_shape_of_every_error() -> None:
    async with client_of(new_app(ScriptedInference(), api_keys=frozenset({"one"}))) as client:
        missing = await client.get("/v1/models")
        wrong = await client.get("/v1/models", headers={"authorization": "Bearer no"})
        right = await client.get("/v1/models", headers={"x-api-key": "one"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "missing_api_key")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert wrong.headers["www-authenticate"] == "Bearer"
    assert wrong.json()["error"]["type"] == "authentication_error"
    assert right.status_code == 200


KEYS = Keys(["client"], ["operator"], ["viewer"])


def with_key(
    key: str, path: str = "/box/v1/hints", address: dict[str, Any] = TCP, method: str = "GET"
) -> dict[str, Any]:
    return scope(path, {"authorization": f"Bearer {key}"}, address, method)


@pytest.mark.parametrize("address", [TCP, HERE])
def test_a_key_says_who_sends_it_from_wherever(address: dict[str, Any]) -> None:
    assert KEYS.role(with_key("operator", address=address)) is Role.OPERATOR
    assert KEYS.role(with_key("viewer", address=address)) is Role.VIEWER


def test_who_is_on_the_machine_is_an_operator_and_who_is_not_is_a_client() -> None:
    assert KEYS.role(with_key("client", address=HERE)) is Role.OPERATOR
    assert KEYS.role(with_key("client")) is Role.CLIENT
    assert KEYS.role(scope(address=UNIX)) is Role.OPERATOR
    assert Keys([]).role(scope(address=HERE)) is Role.OPERATOR
    assert Keys([]).role(scope()) is Role.CLIENT


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/box/v1/hints", True),
        ("HEAD", "/box/v1/status", True),
        ("GET", "/v1/models/m", True),
        ("GET", "/health", True),
        ("POST", "/box/v1/hints", False),
        ("DELETE", "/box/v1/hints/h", False),
        ("PUT", "/box/v1/policy", False),
        ("POST", "/v1/chat/completions", False),
        ("GET", "/v1/responses/resp_1", False),
    ],
)
def test_a_viewer_looks_at_the_box_and_does_nothing_else(method: str, path: str, may: bool) -> None:
    if may:
        assert KEYS.role(with_key("viewer", path, method=method)) is Role.VIEWER
    else:
        with pytest.raises(Forbidden, match="may look at the box, and do nothing else"):
            KEYS.role(with_key("viewer", path, method=method))


def test_keys_of_operators_alone_close_nothing_to_clients() -> None:
    assert Keys([], ["operator"]).role(with_key("dummy", "/v1/chat/completions", method="POST")) is Role.CLIENT


@pytest.mark.parametrize(("host", "is_here"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("x", False)])
def test_addresses_of_the_machine_itself(host: str, is_here: bool) -> None:
    assert is_loopback({"client": (host, 5)}) == is_here
    assert not is_loopback({"client": None})


async def test_from_elsewhere_a_viewer_sees_what_a_client_does_not_and_changes_nothing() -> None:
    app = new_app(ScriptedInference(), operator_keys=frozenset({"o"}), read_only_keys=frozenset({"v"}))
    transport = httpx.ASGITransport(app, client=("10.0.0.9", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        statuses = {}
        for key in ("", "v", "o"):
            headers = {"x-api-key": key} if key else {}
            seen = await http.get("/box/v1/hints", headers=headers)
            changed = await http.post("/box/v1/hints", json={"verb": "pin", "session": "s"}, headers=headers)
            statuses[key] = seen.status_code, changed.status_code
    assert statuses == {"": (403, 403), "v": (200, 403), "o": (200, 200)}
