"""Two real engines with small caches, asked why tokens were computed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.wording import words

pytestmark = pytest.mark.engine

MODEL = "smollm2-135m-instruct"
CACHE_BYTES = 57 * 2**20
"""Of the demo model in float32: 1,248 tokens a worker."""

Messages = list[dict[str, Any]]


def opening(system: str, question: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


class Box:
    def __init__(self, base: str, environment: dict[str, str]) -> None:
        self._environment = environment
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(base_url=base, timeout=300, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, messages: Messages, session: str, **fields: Any) -> dict[str, Any]:
        headers = {"x-dynamo-session-id": session}
        body = {"model": MODEL, "messages": messages, "max_tokens": 4, "temperature": 0} | fields
        answer: dict[str, Any] = (
            (await self._client.post("/v1/chat/completions", json=body, headers=headers)).raise_for_status().json()
        )
        return answer

    async def get(self, path: str) -> Any:
        return (await self._client.get(f"/box/v1/{path}")).raise_for_status().json()

    def command(self, *arguments: str) -> str:
        line = [sys.executable, "-m", "appliance.cli", *arguments]
        return subprocess.run(
            line, env=self._environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    home = tmp_path_factory.mktemp("ledger")
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": str(CACHE_BYTES),
        "DYNAMO_BOX_CACHE__POLICY": "lru",
        "DYNAMO_BOX_MODEL__DTYPE": "float32",
        "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "1024",
        "DYNAMO_BOX_WORKERS__COUNT": "2",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first, (home / "box.log").read_text()
        yield json.loads(first)["endpoint"], environment
    finally:
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
        assert "could not be explained" not in Path(home / "box.log").read_text()


@pytest.fixture
async def box(place: tuple[str, dict[str, str]]) -> AsyncIterator[Box]:
    box = Box(*place)
    yield box
    await box.close()


async def test_the_word_that_another_conversation_changed_is_named(box: Box) -> None:
    system = f"You are a careful assistant. {words('rules', 200)}"
    first = await box.ask(opening(system, "What is a cat?"), "first")
    await box.ask(opening(system.replace("careful", "careless"), "What is a cat?"), "second")
    told = await asyncio.to_thread(box.command, "why")
    assert "in system is the first that differs" in told
    assert first["id"] in told
    assert "then 'careful', now 'careless'" in told


async def test_the_burst_that_evicted_a_conversation_is_named(box: Box) -> None:
    lead = opening(words("lead", 300), "Go on.")
    await box.ask(lead, "lead")
    burst = [box.ask(opening(words(f"kind {number}", 200), "Do it."), f"sub-{number}") for number in range(20)]
    burst_ids = {answer["id"] for answer in await asyncio.gather(*burst)}
    answer = await box.ask(lead, "lead")
    why = await box.get(f"requests/{answer['id']}/why")
    evicted = [one for one in why["request"]["ranges"] if one["reason"] == "evicted"]
    assert sum(one["end"] - one["start"] for one in evicted) >= 256
    blamed = [one["blame"] for one in evicted]
    assert {blame["request"] for blame in blamed} <= burst_ids
    assert all(blame["session"].startswith("sub-") for blame in blamed)
    assert any("of session sub-" in finding["text"] for finding in why["findings"])


async def test_a_claim_that_had_run_out_is_told_apart(box: Box, tmp_path: Path) -> None:
    policy = tmp_path / "brief.toml"
    policy.write_text('[[rule]]\nregion = ["system", "user"]\npriority = 60\nduration = "1s"\n')
    await asyncio.to_thread(box.command, "policy", "apply", str(policy))
    brief = opening(words("brief", 200), "Go.")
    await box.ask(brief, "brief")
    await asyncio.sleep(2)
    await asyncio.gather(*(box.ask(opening(words(f"late {n}", 200), "Do it."), f"late-{n}") for n in range(20)))
    answer = await box.ask(brief, "brief")
    await asyncio.to_thread(box.command, "policy", "apply", "lru")
    ranges = (await box.get(f"requests/{answer['id']}"))["ranges"]
    expired = [one for one in ranges if one["reason"] == "expired"]
    assert sum(one["end"] - one["start"] for one in expired) >= 128
    assert all(one["blame"]["rule"].startswith("brief.toml:") for one in expired)


async def test_under_load_every_range_adds_up_to_what_the_engines_counted(box: Box) -> None:
    before = await box.get("status")

    async def converse(number: int) -> list[dict[str, Any]]:
        messages = opening(words(f"shared {number % 3}", 120), words(f"question {number}", 60))
        answers = []
        for turn in range(6):
            answers.append(await box.ask(messages, f"talk-{number}"))
            messages = [*messages, answers[-1]["choices"][0]["message"]]
            messages.append({"role": "user", "content": words(f"turn {number} {turn}", 30)})
        return answers

    told = [answer for answers in await asyncio.gather(*map(converse, range(8))) for answer in answers]
    computed = 0
    for answer in told:
        record, usage = await box.get(f"requests/{answer['id']}"), answer["usage"]
        ranges = record["ranges"]
        assert [one["start"] for one in ranges] == [0, *(one["end"] for one in ranges[:-1])]
        assert ranges[-1]["end"] == usage["prompt_tokens"]
        read = sum(one["end"] - one["start"] for one in ranges if one["source"] != "recomputed")
        assert read == usage["prompt_tokens_details"]["cached_tokens"]
        assert all((one["reason"] is None) == (one["source"] != "recomputed") for one in ranges)
        computed += usage["prompt_tokens"] - read
    after = await box.get("status")
    missed = [sum(status["misses"]["tokens"].values()) for status in (before, after)]
    assert missed[1] - missed[0] == computed
    assert after["misses"]["failed"] == 0
    unexplained = after["misses"]["unexplained"] - before["misses"]["unexplained"]
    assert unexplained <= 0.05 * computed
    assert "first_request" in after["misses"]["tokens"]


async def test_what_an_engine_took_with_it_is_blamed_on_its_end(box: Box) -> None:
    messages = opening(words("mortal", 200), "Live on.")
    first = await box.ask(messages, "mortal")
    worker = (await box.get(f"requests/{first['id']}"))["worker"]
    workers = {one["id"]: one for one in (await box.get("status"))["workers"]}
    os.kill(workers[worker]["pid"], signal.SIGKILL)
    async with asyncio.timeout(30):
        while (await box.get("status"))["workers"][worker]["phase"] == "running":
            await asyncio.sleep(0.2)
    again = await box.ask(messages, "mortal")
    lost = (await box.get(f"requests/{again['id']}"))["ranges"][0]
    assert (lost["reason"], lost["blame"]["rule"], lost["worker"]) == ("evicted", "worker ended", worker)
    assert f"lost with the engine of worker {worker}" in await asyncio.to_thread(box.command, "why", again["id"])
