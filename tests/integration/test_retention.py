"""What a real engine with a small cache keeps, seen by its clients: how much of a prompt was read from cache."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.wording import words

pytestmark = pytest.mark.engine

MODEL = "smollm2-135m-instruct"
BLOCK_TOKENS = 32
CACHE_BYTES = 57 * 2**20
NUM_BLOCKS = 40
"""Of the demo model in float32; vLLM keeps one of them for itself: 1,248 tokens."""

TEMPLATE = """\
{%- set last = namespace(question=0) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set last.question = loop.index0 %}{% endif %}
{%- endfor %}
{%- for tool in tools or [] %}{{ '<tool_call>' + (tool | tojson) + '\\n' }}{% endfor %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning and loop.index0 > last.question %}
{{- '<think>' + message.reasoning + '</think>\\n' }}
{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}{{ call.function.name }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""Thoughts are shown until the next question."""

TOOL_WAIT_POLICY = """\
description = "coding-agent that waits for tools for a shorter time"
include = "coding-agent"

[[rule]]
region = ["user", "assistant", "tool_call", "tool_result"]
state = "tool_wait"
role = "lead"
priority = 60
duration = "{seconds:.1f}s"
"""

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": NOTHING}}]
LOOK = {"type": "function", "function": {"name": "look"}}
CALL: dict[str, Any] = {"tools": TOOLS, "tool_choice": LOOK, "max_tokens": 60}

Messages = list[dict[str, Any]]


def question(seed: str, count: int) -> Messages:
    return [{"role": "user", "content": words(seed, count)}]


def system(seed: str, count: int) -> dict[str, Any]:
    return {"role": "system", "content": words(seed, count)}


LEAD = [system("lead", 300), *question("lead", 60)]


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish: str
    prompt_tokens: int
    cached_tokens: int

    @property
    def is_cached(self) -> bool:
        """All that can be: the last block is computed again when the prompt ends with it."""
        return self.cached_tokens >= (self.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS


class Box:
    """One worker, and a client of it."""

    def __init__(self, base: str, environment: dict[str, str]) -> None:
        self.environment = environment
        # The box closes idle connections; a new one each time never meets one that is being closed.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(base_url=base, timeout=300, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, messages: Messages, session: str, *, parent: str | None = None, **fields: Any) -> Answer:
        headers = {"x-dynamo-session-id": session} | ({"x-dynamo-parent-session-id": parent} if parent else {})
        body = {"model": MODEL, "messages": messages, "max_tokens": 1, "temperature": 0} | fields
        reply = (await self._client.post("/v1/chat/completions", json=body, headers=headers)).raise_for_status().json()
        choice, usage = reply["choices"][0], reply["usage"]
        cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
        return Answer(choice["message"]["content"], choice["finish_reason"], usage["prompt_tokens"], cached_tokens)

    async def flood(self, tokens: int, **fields: Any) -> None:
        """Prompts that nobody sends twice, one after the other."""
        sent = 0
        while sent < tokens:
            answer = await self.ask(question(os.urandom(8).hex(), 200), f"flood-{os.urandom(8).hex()}", **fields)
            sent += answer.prompt_tokens

    async def burst(self, count: int, *, kinds: int = 1) -> None:
        """Subagents, all at once; those of one kind share their system text."""
        asks = [
            self.ask(
                [system(f"kind {number % kinds}", 60), *question(f"task {number}", 100)], f"sub-{number}", parent="lead"
            )
            for number in range(count)
        ]
        await asyncio.gather(*asks)

    async def policy(self) -> Any:
        return (await self._client.get("/box/v1/policy")).raise_for_status().json()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "appliance.cli", *arguments]
        return subprocess.run(line, env=self.environment, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def serving(home: Path, policy: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A box of one worker; its address, and what commands need to find it."""
    template = home / "template.jinja"
    template.write_text(TEMPLATE)
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": str(CACHE_BYTES),
        "DYNAMO_BOX_CACHE__POLICY": policy,
        "DYNAMO_BOX_MODEL__DTYPE": "float32",
        "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "640",
        "DYNAMO_BOX_MODEL__CHAT_TEMPLATE": str(template),
        "DYNAMO_BOX_MODEL__REASONING_PARSER": "none",
        "DYNAMO_BOX_WORKERS__COUNT": "1",
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    home = tmp_path_factory.mktemp("retention")
    with serving(home, "coding-agent") as found:
        yield found


@pytest.fixture
async def box(place: tuple[str, dict[str, str]]) -> AsyncIterator[Box]:
    box = Box(*place)
    yield box
    await box.close()


async def test_thoughts_go_before_the_rest_though_the_rest_was_read_longer_ago(box: Box) -> None:
    plain, asked = question("plain", 240), question("asked", 240)
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    thought = {"role": "assistant", "content": "", "reasoning_content": words("thought", 240), "tool_calls": [call]}
    thinking = [*asked, thought, {"role": "tool", "tool_call_id": "1", "content": "Nothing."}]
    await box.ask(plain, "plain")
    await box.ask(thinking, "thinks")
    await box.flood(600)
    assert (await box.ask(plain, "plain")).is_cached
    left = await box.ask(thinking, "thinks")
    assert 240 // BLOCK_TOKENS * BLOCK_TOKENS <= left.cached_tokens < left.prompt_tokens - BLOCK_TOKENS


async def test_a_leads_prompt_survives_a_burst_of_subagents_who_evict_one_another(box: Box) -> None:
    await box.ask(LEAD, "lead")
    await box.burst(60)
    assert (await box.ask(LEAD, "lead")).cached_tokens >= 300 // BLOCK_TOKENS * BLOCK_TOKENS
    await asyncio.sleep(2)
    kinds = json.loads(box.command("status", "--json").stdout)["evictions"]["by_kind"]
    assert kinds[0]["cause"] == "other_session"
    assert kinds[0]["region"] == "user"
    assert kinds[0]["rule"].startswith("coding-agent.toml:")
    assert sum(kind["blocks"] for kind in kinds) > 2 * NUM_BLOCKS
    assert "system" not in {kind["region"] for kind in kinds}


async def test_a_leads_prompt_survives_a_burst_of_subagents_of_as_many_kinds(box: Box) -> None:
    await box.ask(LEAD, "lead")
    await box.burst(60, kinds=60)
    assert (await box.ask(LEAD, "lead")).cached_tokens >= 300 // BLOCK_TOKENS * BLOCK_TOKENS


async def test_a_conversation_that_waits_for_a_tool_survives_its_time_and_not_longer(box: Box, tmp_path: Path) -> None:
    began = time.monotonic()
    await box.flood(1400)
    # However slow the machine is, half of that flood fits into the time, and is more than there is room for.
    seconds = time.monotonic() - began + 1
    policy = tmp_path / "mine.toml"
    policy.write_text(TOOL_WAIT_POLICY.format(seconds=seconds))
    assert box.command("policy", "apply", str(policy)).returncode == 0
    waiting = question("waits", 480)
    assert (await box.ask(waiting, "waits", **CALL)).finish == "tool_calls"
    await box.flood(760)
    again = await box.ask(waiting, "waits", **CALL)
    assert again.is_cached
    await asyncio.sleep(seconds)
    await box.flood(1400, nvext={"agent_hints": {"priority": 10}})
    assert (await box.ask(waiting, "waits", **CALL)).cached_tokens < again.cached_tokens / 2


async def test_a_change_of_policy_moves_what_is_there_and_drops_nothing(box: Box) -> None:
    await box.ask(LEAD, "lead")
    assert box.command("policy", "apply", "lru").returncode == 0
    assert (await box.ask(LEAD, "lead")).is_cached
    await box.burst(20)
    assert (await box.ask(LEAD, "lead")).cached_tokens == 0


async def test_a_policy_that_is_wrong_is_refused_and_the_active_one_stays(box: Box, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[[rule]]\npriority = 101")
    before = await box.policy()
    refused = box.command("policy", "apply", str(wrong))
    assert refused.returncode == 1
    assert f"{wrong}:2: priority = 101" in refused.stderr
    assert await box.policy() == before


async def test_the_tokens_are_those_of_the_stock_engine(box: Box, tmp_path: Path) -> None:
    ours = await answers(box)
    with serving(tmp_path, "off") as place:
        stock = Box(*place)
        theirs = await answers(stock)
        await stock.close()
    assert ours == theirs


async def answers(box: Box) -> list[str]:
    """More than the cache can hold, twice."""
    prompts = [question(f"prompt {number}", 200) for number in range(7)]
    return [(await box.ask(prompt, f"s{number}", max_tokens=12)).text for number, prompt in enumerate(2 * prompts)]
