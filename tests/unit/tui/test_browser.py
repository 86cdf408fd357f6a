"""Who is let in to a console in a browser."""

from __future__ import annotations

import base64

import pytest
from aiohttp.test_utils import TestClient, TestServer

from appliance.tui.browser import BrowserConsole

PORT = 8001


async def answer(keys: list[str], **headers: str) -> int:
    app = await BrowserConsole("true", PORT, keys)._make_app()
    async with TestClient(TestServer(app)) as client:
        sent = {"host": f"127.0.0.1:{PORT}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with client.get("/", headers=sent) as response:
            return response.status


def password(key: str) -> str:
    return "Basic " + base64.b64encode(f"me:{key}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": f"localhost:{PORT}"}, 200),
        ({"origin": f"http://127.0.0.1:{PORT}"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1:9"}, 403),
        ({"origin": "http://evil.example"}, 403),
    ],
)
async def test_only_pages_of_this_machine_are_answered(headers: dict[str, str], status: int) -> None:
    assert await answer([], **headers) == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 401), ("Basic ?", 401), (password("wrong"), 401), (password("first"), 200), (password("second"), 200)],
)
async def test_a_box_with_keys_asks_for_one(authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert await answer(["first", "second"], **headers) == status
