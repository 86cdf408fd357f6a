from __future__ import annotations

from typing import Any

import pytest

from appliance.api.keys import Keys, is_local_socket
from appliance.errors import Unauthorized
from tests.unit.api.scripted import ScriptedInference, client_of, new_app

TCP: dict[str, Any] = {"client": ("10.0.0.1", 5), "server": ("10.0.0.2", 80)}
UNIX: dict[str, Any] = {"client": None, "server": ("/run/box.sock", None)}


def scope(
    path: str = "/v1/models", headers: dict[str, str] | None = None, address: dict[str, Any] = TCP
) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {"type": "http", "path": path, "root_path": "", "headers": pairs, **address}


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
    Keys(["one", "two"]).check(scope(headers=headers))


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
        Keys(["one", "two"]).check(scope(path, headers))


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs"])
def test_what_probes_read_needs_no_key(path: str) -> None:
    Keys(["one"]).check(scope(path))


def test_without_keys_everything_is_open() -> None:
    Keys([]).check(scope())


def test_a_prefix_of_a_proxy_does_not_open_a_guarded_path() -> None:
    with pytest.raises(Unauthorized):
        Keys(["one"]).check(scope("/proxy/v1/models") | {"root_path": "/proxy"})


def test_a_unix_socket_needs_no_key() -> None:
    Keys(["one"]).check(scope(address=UNIX))


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
