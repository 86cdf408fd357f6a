"""Steering a real box and looking into it: hints, what-if, blocks, prefixes, events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_retention import BLOCK_TOKENS, NUM_BLOCKS, Box, question, serving, system

pytestmark = pytest.mark.engine

MORE_THAN_ALL = 2 * NUM_BLOCKS * BLOCK_TOKENS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    with serving(tmp_path_factory.mktemp("operator"), "coding-agent") as found:
        yield found


@pytest.fixture
async def box(place: tuple[str, dict[str, str]]) -> AsyncIterator[Box]:
    box = Box(*place)
    yield box
    await box.close()


def told(box: Box, *words: str) -> Any:
    done = box.command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_what_is_pinned_survives_what_everything_else_does_not_and_what_is_released_goes(box: Box) -> None:
    kept, other = question("kept", 240), question("other", 240)
    await box.ask(kept, "kept")
    dry = told(box, "hints", "pin", "kept", "--dry-run")
    assert (dry["hint"], dry["effect"]) == (None, None)
    assert dry["impact"]["tokens"] >= 240 // BLOCK_TOKENS * BLOCK_TOKENS
    pinned = told(box, "hints", "pin", "kept", "--for", "10min")
    assert "tokens on worker 0 are planned by it now" in pinned["effect"]
    await box.ask(other, "other")
    # Without a word the forecast might keep both: whoever asked just now is likely to come back.
    told(box, "hints", "release", "other")
    await box.flood(MORE_THAN_ALL)
    assert (await box.ask(kept, "kept")).is_cached
    assert not (await box.ask(other, "other")).is_cached
    assert pinned["hint"]["id"] in [hint["id"] for hint in told(box, "hints", "list")["hints"]]
    told(box, "hints", "withdraw", pinned["hint"]["id"])
    told(box, "hints", "release", "kept")
    await box.flood(MORE_THAN_ALL)
    assert not (await box.ask(kept, "kept")).is_cached
    verbs = [action["verb"] for action in told(box, "hints", "history")["actions"]]
    assert verbs == ["hint release", "hint withdraw", "hint release", "hint pin"]


async def test_a_prefetch_brings_back_what_was_evicted(box: Box) -> None:
    gone = question("gone", 240)
    await box.ask(gone, "gone")
    await box.flood(MORE_THAN_ALL)
    assert "tokens computed" in told(box, "hints", "prefetch", "gone")["effect"]
    assert (await box.ask(gone, "gone")).is_cached


async def test_the_map_and_the_tree_show_whose_blocks_they_are_and_what_is_shared(box: Box) -> None:
    opening = system("shared", 128)
    for name in ("left", "right"):
        await box.ask([opening, *question(name, 60)], name)
    found = told(box, "cache", "map")
    assert (found["blocks"], found["blocks_per_cell"]) == (NUM_BLOCKS, 1)
    owned = [found["owners"][owner] for owner in found["owner"] if owner is not None]
    assert {"left", "right"} <= set(owned)
    assert max(reuse for reuse in found["reuse"] if reuse is not None) >= 1
    nodes = told(box, "cache", "prefixes")["nodes"]
    shared = next(node for node in nodes if {"left", "right"} <= set(node["names"]))
    assert shared["end_token"] >= 128 // BLOCK_TOKENS * BLOCK_TOKENS
    assert shared["resident_tokens"]["0"] == shared["end_token"] - shared["start_token"]
    assert {tuple(node["names"]) for node in nodes if node["parent"] == shared["id"]} >= {("left",), ("right",)}
    fork = told(box, "cache", "prefixes", "--compare", "left", "right")
    assert fork["token"] >= fork["shared_block_tokens"] == shared["end_token"]
    left, right = (side["text"] for side in fork["sides"])
    assert left != right
    found = told(box, "cache", "prefixes", "--search", left.strip())["search"]
    assert ["left"] in [match["names"] for match in found["matches"]]


async def test_a_policy_is_replayed_applied_and_rolled_back_and_its_prediction_stays(box: Box, tmp_path: Path) -> None:
    job = told(box, "whatif", "--last", "10min", "--policy", "chat")
    assert (job["state"], [one["role"] for one in job["outcomes"]]) == (
        "done",
        ["proposed", "active", "lru", "optimum"],
    )
    assert all(0 <= one["hit_rate"] <= job["outcomes"][-1]["hit_rate"] + 0.05 for one in job["outcomes"])
    assert told(box, "policy", "diff", "chat")["changes"]
    told(box, "policy", "apply", "chat", "--note", "as replayed")
    newest = told(box, "policy", "history")["versions"][0]
    assert (newest["name"], newest["note"]) == ("chat", "as replayed")
    assert newest["predicted"]["hit_rate"] == job["outcomes"][0]["hit_rate"]
    assert told(box, "policy", "rollback")["name"] == "coding-agent"


async def test_what_happened_is_told_in_order_and_can_be_resumed(box: Box, place: tuple[str, dict[str, str]]) -> None:
    async with httpx.AsyncClient(base_url=place[0], timeout=60) as client:
        all_of_it = (await client.get("/box/v1/events?from=oldest&follow=false")).text
        ids = [line.removeprefix("id: ") for line in all_of_it.splitlines() if line.startswith("id: ")]
        kinds = {line.removeprefix("event: ") for line in all_of_it.splitlines() if line.startswith("event: ")}
        rest = (await client.get("/box/v1/events?follow=false", headers={"last-event-id": ids[-2]})).text
    assert kinds >= {"worker", "phase", "request_started", "request_finished", "evictions", "hint", "policy"}
    assert ids[-1] in rest
    assert ids[1] not in rest.split()
