"""Two real workers over one host arena, seen by a client and by the box's own status."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

pytestmark = pytest.mark.engine

MODEL = "smollm2-135m-instruct"
BLOCK_TOKENS = 32
CACHE_BYTES = 120 * 2**20
HOST_BYTES = 256 * 2**20
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"]


class Answer(NamedTuple):
    text: str
    prompt_tokens: int
    cached_tokens: int
    worker: int
    by_tier: dict[str, int]

    @property
    def is_cached(self) -> bool:
        """All that can be: the last block is computed again when the prompt ends with it."""
        return self.cached_tokens >= (self.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS


class Box:
    def __init__(self, base: str, environment: dict[str, str]) -> None:
        self.base = base
        self._environment = environment
        self._client = httpx.Client(base_url=base, timeout=300, limits=httpx.Limits(max_keepalive_connections=0))

    def ask(self, seed: str, max_tokens: int = 24, session: str | None = None) -> Answer:
        text = " ".join(random.Random(seed).choices(WORDS, k=700))  # noqa: S311 – the same words each time
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "nvext": {"extra_fields": ["worker_id", "cache"]},
        }
        headers = {} if session is None else {"x-dynamo-session-id": session}
        reply = self._client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status().json()
        usage, told = reply["usage"], reply["nvext"]
        return Answer(
            reply["choices"][0]["message"]["content"],
            usage["prompt_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            told["worker_id"]["prefill_worker_id"],
            told["cache"]["tokens_by_tier"],
        )

    def command(self, *arguments: str) -> Any:
        """`dynamo-box cache …`, which must succeed."""
        line = [sys.executable, "-m", "appliance.cli", "cache", *arguments, "--json"]
        done = subprocess.run(line, env=self._environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def status(self) -> Any:
        return self._client.get("/box/v1/status").raise_for_status().json()

    def until(self, holds: str, seconds: float = 120.0) -> Any:
        """The first status of which this expression is true."""
        deadline = time.monotonic() + seconds
        while not eval(holds, {"status": (status := self.status())}):  # noqa: S307 – of this file
            assert time.monotonic() < deadline, f"never: {holds}; {status}"
            time.sleep(0.2)
        return status

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Workers take turns, so that the same prompt comes to the other one. In float32 a block that was read and one that
    was computed give the same tokens."""
    home = tmp_path_factory.mktemp("host")
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": str(CACHE_BYTES),
        "DYNAMO_BOX_CACHE__HOST__BYTES": str(HOST_BYTES),
        "DYNAMO_BOX_MODEL__DTYPE": "float32",
        "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "1024",
        "DYNAMO_BOX_ROUTER__POLICY": "round_robin",
        "DYNAMO_BOX_WORKERS__COUNT": "2",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, (home / "box.log").read_text()
    box = Box(json.loads(first)["endpoint"], environment)
    yield box
    box.close()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    process.stdout.close()
    assert not list(Path("/dev/shm").glob("dynamo-box-*")), "the arena must go with its box"  # noqa: S108 – the kernel's


def test_what_one_worker_computed_the_other_reads_and_answers_the_same(box: Box) -> None:
    cold = box.ask("shared")
    stored = cold.prompt_tokens // BLOCK_TOKENS
    box.until(f"status['host']['used'] >= {stored}")
    warm = box.ask("shared")
    assert warm.worker != cold.worker
    assert (cold.cached_tokens, warm.is_cached, warm.text) == (0, True, cold.text)
    assert warm.by_tier == {"gpu": 0, "host": warm.cached_tokens, "disk": 0, "remote": 0}
    again = [box.ask("shared", max_tokens=1) for _ in range(2)]
    assert [answer.by_tier["host"] for answer in again] == [0, 0]
    assert box.status()["cache_since_start"]["host_tokens"] == warm.cached_tokens


def test_a_block_has_one_row_however_many_workers_have_it(box: Box) -> None:
    answers = [box.ask("once", max_tokens=1) for _ in range(4)]
    assert {answer.worker for answer in answers} == {0, 1}
    blocks = answers[0].prompt_tokens // BLOCK_TOKENS
    before = box.status()["host"]["used"]
    assert {answer.text for answer in answers} == {answers[0].text}
    box.ask("once", max_tokens=1)
    assert box.status()["host"]["used"] == before
    assert before < 3 * blocks, "two prompts of so many blocks were sent so far, and a few words of answers"


def test_the_router_knows_that_every_worker_can_have_it(box: Box) -> None:
    status = box.until("status['host']['indexed'] == status['host']['used'] > 0")
    assert all(worker["index_in_step"] for worker in status["workers"])


def test_what_left_a_workers_own_cache_comes_back_from_the_host(box: Box) -> None:
    first = box.ask("returns")
    for number in range(6):
        box.ask(f"flood {number}", max_tokens=1)
    again = [box.ask("returns") for _ in range(2)]
    assert [answer.is_cached for answer in again] == [True, True]
    assert {answer.text for answer in again} == {first.text}


def test_sessions_are_told_by_tier_and_all_that_is_cached_is_sound(box: Box) -> None:
    answers = [box.ask("listed", max_tokens=1, session="listed") for _ in range(2)]
    listed = box.command("ls")
    (told,) = (one for one in listed["sessions"] if one["session"] == "listed")
    blocks = answers[0].prompt_tokens // BLOCK_TOKENS * BLOCK_TOKENS
    assert told["prompt_tokens"] == answers[0].prompt_tokens
    assert told["gpu_tokens"] == {"0": blocks, "1": blocks}
    assert told["host_tokens"] == blocks
    verified = box.command("verify")
    assert [(check["tier"], check["error"]) for check in verified["checks"]] == [
        ("gpu", None),
        ("gpu", None),
        ("host", None),
    ]


def test_what_is_flushed_is_computed_again_and_answered_the_same(box: Box) -> None:
    first = box.ask("flushed")
    box.until("status['host']['held'] == 0")
    assert [one["error"] for one in box.command("flush", "gpu")["flushed"]] == [None, None]
    assert box.ask("flushed").by_tier["gpu"] == 0
    assert box.command("flush", "host")["flushed"][0]["blocks"] > 0
    box.command("flush", "gpu")
    again = box.ask("flushed")
    assert (again.cached_tokens, again.text) == (0, first.text)
    box.until("status['host']['indexed'] == status['host']['used'] > 0")


def test_an_engine_killed_while_it_writes_leaves_an_arena_that_both_go_on_with(box: Box) -> None:
    known = box.ask("before the death")
    box.until("status['host']['held'] == 0")
    victim = box.status()["workers"][0]["pid"]
    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(box.ask, f"dying {number}") for number in range(4)]
        box.until("status['host']['held'] > 0")
        os.kill(victim, signal.SIGKILL)
        answers = [future.result() for future in under_way]
    assert [bool(answer.text) for answer in answers] == [True] * 4
    status = box.until("all(worker['phase'] == 'running' for worker in status['workers'])")
    assert status["workers"][0]["restarts"] == 1
    box.until("status['host']['held'] == 0")
    after = [box.ask("before the death") for _ in range(2)]
    assert {answer.worker for answer in after} == {0, 1}, "one of them is the new engine, whose own cache is empty"
    assert [answer.is_cached for answer in after] == [True, True]
    assert {answer.text for answer in after} == {known.text}
