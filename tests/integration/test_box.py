"""One real box, two real vLLM workers, used as a client would."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from benchmarks.turns import converse

pytestmark = pytest.mark.engine

START_SECONDS = 300
MODEL = "smollm2-135m-instruct"


class Box:
    def __init__(self, process: subprocess.Popen[str], base: str, environment: dict[str, str]) -> None:
        self.process = process
        self.base = base
        self.environment = environment

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "appliance.cli", *arguments]
        return subprocess.run(line, env=self.environment, capture_output=True, text=True, check=False, timeout=120)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return status


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    home = tmp_path_factory.mktemp("box")
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": "512MiB",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, Path(home / "box.log").read_text()
    yield Box(process, json.loads(first)["endpoint"], environment)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    process.stdout.close()


def test_a_chat_answers_and_streams_the_same_text(box: Box) -> None:
    with openai.OpenAI(base_url=f"{box.base}/v1", api_key="none") as client:
        question: Any = [{"role": "user", "content": "What is the capital of France?"}]
        whole = client.chat.completions.create(model=MODEL, messages=question, max_tokens=12, temperature=0)
        stream = client.chat.completions.create(
            model=MODEL, messages=question, max_tokens=12, temperature=0, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert whole.choices[0].message.content == text
    assert "Paris" in text
    assert whole.usage is not None
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens is not None


def test_a_forced_tool_is_called(box: Box) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    with openai.OpenAI(base_url=f"{box.base}/v1", api_key="none") as client:
        reply = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Weather in Paris?"}],
            tools=tools,
            tool_choice={"type": "function", "function": {"name": "weather"}},
            max_tokens=64,
            temperature=0,
        )
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"


def test_messages_tell_what_was_read_from_cache_and_written_to_it(box: Box) -> None:
    system: Any = [{"type": "text", "text": "You answer in few words. " * 60, "cache_control": {"type": "ephemeral"}}]
    question: Any = [{"role": "user", "content": "Name a colour."}]
    with anthropic.Anthropic(base_url=box.base, api_key="none") as client:
        ask = functools.partial(client.messages.create, model=MODEL, max_tokens=8, system=system, messages=question)
        first, second = ask().usage, ask().usage
        counted = client.messages.count_tokens(model=MODEL, system=system, messages=question).input_tokens
    for usage in (first, second):
        cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        assert usage.input_tokens + cached + written == counted
    assert first.cache_creation_input_tokens
    assert second.cache_read_input_tokens
    assert second.cache_read_input_tokens > first.cache_creation_input_tokens - 64


def test_a_forced_tool_has_the_same_prompt_as_a_free_one_and_arguments_that_fit(box: Box) -> None:
    schema: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools: Any = [{"name": "weather", "description": "The weather of a city, now.", "input_schema": schema}]
    question: Any = [{"role": "user", "content": "How is the weather in Paris? " * 12}]
    with anthropic.Anthropic(base_url=box.base, api_key="none") as client:
        ask = functools.partial(client.messages.create, model=MODEL, max_tokens=200, tools=tools, messages=question)
        ask(tool_choice={"type": "auto"})
        forced = ask(tool_choice={"type": "tool", "name": "weather"})
        with client.messages.stream(
            model=MODEL, max_tokens=200, tools=tools, messages=question, tool_choice={"type": "any"}
        ) as stream:
            streamed = stream.get_final_message()
    for message in (forced, streamed):
        assert message.stop_reason == "tool_use"
        (call,) = [block for block in message.content if block.type == "tool_use"]
        assert isinstance(call.input["city"], str)
        assert message.usage.cache_read_input_tokens


def test_a_response_goes_on_from_a_stored_one(box: Box) -> None:
    with openai.OpenAI(base_url=f"{box.base}/v1", api_key="none") as client:
        first = client.responses.create(model=MODEL, input="Name a colour. " * 30, max_output_tokens=8)
        second = client.responses.create(
            model=MODEL, input="Another.", previous_response_id=first.id, max_output_tokens=8, temperature=0
        )
        assert first.usage is not None
        assert second.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens
        assert second.usage.input_tokens_details.cached_tokens > 0
        with client.responses.stream(
            model=MODEL, input="Another.", previous_response_id=first.id, max_output_tokens=8, temperature=0
        ) as stream:
            # Not `get_final_response`: that knows no answer which its limit has ended.
            end = list(stream)[-1]
        assert end.type in ("response.completed", "response.incomplete")
        assert (end.response.status, end.response.output_text) == (second.status, second.output_text)
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)


def test_three_protocols_read_one_cache(box: Box) -> None:
    text = "Which of these would you take along, and why? " * 30
    chat = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": text}]}
    asks = [
        ("/v1/chat/completions", chat, ("prompt_tokens", "prompt_tokens_details")),
        ("/v1/messages", chat, None),
        (
            "/v1/responses",
            {"model": MODEL, "input": text, "max_output_tokens": 4},
            ("input_tokens", "input_tokens_details"),
        ),
    ]
    prompts, cached = set(), []
    for path, body, names in asks:
        usage = httpx.post(f"{box.base}{path}", json=body, timeout=120).raise_for_status().json()["usage"]
        if names is None:
            cached.append(usage["cache_read_input_tokens"])
            prompts.add(usage["input_tokens"] + usage["cache_creation_input_tokens"] + cached[-1])
        else:
            prompts.add(usage[names[0]])
            cached.append(usage[names[1]]["cached_tokens"])
    assert len(prompts) == 1
    assert cached[0] == 0
    assert cached[1] == cached[2] > 0


def test_a_prompt_longer_than_the_context_is_refused_and_the_box_goes_on(box: Box) -> None:
    with openai.OpenAI(base_url=f"{box.base}/v1", api_key="none", max_retries=0) as client:
        long: Any = [{"role": "user", "content": "word " * 9000}]
        with pytest.raises(openai.BadRequestError, match="context"):
            client.chat.completions.create(model=MODEL, messages=long)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "hi"}])
    assert httpx.get(f"{box.base}/ready").status_code == 200


async def test_later_turns_are_read_from_cache(box: Box) -> None:
    async with httpx.AsyncClient(base_url=box.base, timeout=300) as client:
        played = await asyncio.gather(*(converse(client, MODEL, number) for number in range(4)))
    later = [record for records in played for record in records if record["turn"] > 0]
    assert sum(record["cached"] for record in later) >= 0.95 * sum(record["possible"] for record in later)


def test_a_second_box_in_the_same_place_is_refused(box: Box) -> None:
    refused = box.command("serve", "--port", "0")
    assert refused.returncode == 1
    assert "already running" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_requests_outlive_a_killed_engine(box: Box) -> None:
    async with httpx.AsyncClient(base_url=box.base, timeout=300) as client:
        body = {"model": MODEL, "max_tokens": 60, "temperature": 0, "ignore_eos": True}
        asks = [
            asyncio.create_task(
                client.post(
                    "/v1/chat/completions",
                    json=body | {"messages": [{"role": "user", "content": f"Tell story {number}."}]},
                )
            )
            for number in range(4)
        ]
        async with asyncio.timeout(60):
            while (await client.get("/box/v1/status")).json()["workers"][0]["running_requests"] == 0:
                await asyncio.sleep(0.02)
        os.kill((await client.get("/box/v1/status")).json()["workers"][0]["pid"], signal.SIGKILL)
        replies = await asyncio.gather(*asks)
        assert [reply.status_code for reply in replies] == [200] * 4
        assert all(reply.json()["usage"]["completion_tokens"] == 60 for reply in replies)
        async with asyncio.timeout(START_SECONDS):
            while (await client.get("/ready")).json()["workers_ready"] < 2:
                await asyncio.sleep(0.2)


def test_nothing_is_left_five_seconds_after_the_supervisor_is_killed(box: Box) -> None:
    pids = [worker["pid"] for worker in box.status()["workers"]]
    box.process.kill()
    box.process.wait()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert box.command("status").returncode == 3
