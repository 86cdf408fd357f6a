"""One worker with one seat: everybody else waits in the box, or has to make room."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.engine

MODEL = "smollm2-135m-instruct"
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("box")
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": "512MiB",
        "DYNAMO_BOX_WORKERS__COUNT": "1",
        "DYNAMO_BOX_WORKERS__MAX_NUM_SEQS": "1",
        "DYNAMO_BOX_MODEL__DTYPE": "float32",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, Path(home / "box.log").read_text()
    yield str(json.loads(first)["endpoint"])
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    process.stdout.close()


def body(text: str, max_tokens: int, priority: int) -> dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": text}],
        "nvext": {"agent_hints": {"priority": priority}},
    }


async def ask(client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.post("/v1/chat/completions", json=asked)).raise_for_status().json()
    return answer


async def queue_of(client: httpx.AsyncClient) -> dict[str, Any]:
    queue: dict[str, Any] = (await client.get("/box/v1/status")).json()["queue"]
    return queue


async def until_waiting(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await queue_of(client))["waiting"] < count:
            await asyncio.sleep(0.01)


async def test_an_important_request_overtakes_those_that_wait(base: str) -> None:
    ended: list[str] = []

    async def run(client: httpx.AsyncClient, name: str, priority: int) -> None:
        await ask(client, body(f"Tell story {name}.", 24, priority))
        ended.append(name)

    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_SECONDS) as client:
        tasks = [asyncio.create_task(run(client, f"ordinary {number}", 0)) for number in range(4)]
        await until_waiting(client, 3)
        tasks.append(asyncio.create_task(run(client, "important", 5)))
        await asyncio.gather(*tasks)
    # The one that ran may make room for it or end before it.
    assert "important" in ended[:2]


async def test_a_request_that_made_room_goes_on_from_what_it_had_and_its_text_is_the_same(base: str) -> None:
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_SECONDS) as client:
        asked = body("Tell a long story of a river. " * 20, 160, -1)
        undisturbed = await ask(client, asked)
        before = (await queue_of(client))["set_aside"]
        low = asyncio.create_task(ask(client, asked))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await client.get("/box/v1/status")).json()["workers"][0]["running_requests"]:
                await asyncio.sleep(0.01)
        high = await ask(client, body("Name a colour.", 4, 5))
        assert not low.done()
        disturbed = await low
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await queue_of(client))["set_aside"] == before + 1
    assert high["usage"]["completion_tokens"] == 4
    assert disturbed["choices"][0]["message"]["content"] == undisturbed["choices"][0]["message"]["content"]
    assert disturbed["usage"]["completion_tokens"] == 160
