"""A real box that is killed in the middle and started again: nothing of it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.engine

MODEL = "smollm2-135m-instruct"
SESSION = {"x-claude-code-session-id": "a-session"}


@contextlib.contextmanager
def box(home: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": "256MiB",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--workers", "1", "--json"]
    with (home / "box.log").open("a") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert "endpoint" in first, first + (home / "box.log").read_text()
        with httpx.Client(base_url=json.loads(first)["endpoint"], timeout=120) as client:
            yield process, client
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def answer(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    response = client.post("/v1/responses", json={"model": MODEL, "max_output_tokens": 8} | asked)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def turn(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Count with me. " * 40}]
    body = {"model": MODEL, "max_tokens": 8, "messages": messages}
    assert client.post("/v1/messages", headers=SESSION, json=body).status_code == 200


def sessions(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/box/v1/sessions").json()["sessions"]
    return found


def replayed(client: httpx.Client) -> dict[str, Any]:
    """What the box really did of what it replays."""
    job: dict[str, Any] = client.post("/box/v1/whatif", json={"policy": "lru", "last": 3600}).json()
    while job["state"] not in ("done", "failed", "cancelled"):
        time.sleep(0.2)
        job = client.get(f"/box/v1/whatif/{job['id']}").json()
    assert job["state"] == "done", job
    measured: dict[str, Any] = job["measured"]
    return measured


def test_a_box_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with box(tmp_path) as (process, client):
        first = answer(client, input="My name is Bo.")
        for _ in range(2):
            turn(client)
        assert client.put("/box/v1/policy", json={"policy": "chat"}).status_code == 200
        (before,) = (one for one in sessions(client) if one["session"] == "a-session")
        assert (before["turns"], before["state"], before["is_live"]) == (2, "idle", True)
        told_at = time.time()
        # What was told more than a second ago is in the file, however the process ends.
        time.sleep(2.5)
        process.kill()
    with box(tmp_path) as (_, client):
        second = answer(client, input="What is my name?", previous_response_id=first["id"])
        assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
        assert client.get(f"/v1/responses/{first['id']}").json()["output"] == first["output"]
        assert client.get("/box/v1/policy").json()["name"] == "chat"
        (after,) = (one for one in sessions(client) if one["session"] == "a-session")
        assert after == before
        turn(client)
        (again,) = (one for one in sessions(client) if one["session"] == "a-session")
        assert again["turns"] == 3
        assert replayed(client)["requests"] > 2, "also those from before the box was started again"
        snapshot = client.get("/box/v1/snapshot", params={"at": told_at + 1.25}).json()
        assert told_at < snapshot["at"] <= told_at + 1.25
        assert snapshot["status"]["requests"]["finished"] == 3
        state = client.get("/box/v1/status").json()["state"]
        assert (state["dropped"], state["refused"], state["trouble"]) == ({}, {}, None)
    log = (tmp_path / "box.log").read_text()
    assert "policy chat, applied by operator" in log
    assert "session(s) are known from before" in log
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "state.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        sums = "SELECT count(*), sum(gpu_tokens + host_tokens + disk_tokens + remote_tokens) - sum(cached_tokens)"
        assert connection.execute(f"{sums} FROM requests WHERE gpu_tokens IS NOT NULL").fetchone() == (5, 0)
