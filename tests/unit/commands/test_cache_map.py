from __future__ import annotations

from typing import Any

import pytest

from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

MAP: dict[str, Any] = {
    "worker": 1,
    "blocks": 80,
    "blocks_per_cell": 16,
    "owners": ["x", "y"],
    "filled": [16, 3, 0, 1, 1],
    "held": [2, 0, 0, 0, 0],
    "owner": [1, 1, None, None, 0],
}
NODE: dict[str, Any] = {
    "id": 0,
    "parent": None,
    "start_token": 0,
    "end_token": 4096,
    "sessions": 5,
    "names": ["a", "b", "c", "d"],
    "region": "system",
    "resident_tokens": {"0": 4096, "1": 0},
}
CHILD = NODE | {"id": 1, "parent": 0, "start_token": 4096, "end_token": 5000, "sessions": 1, "names": ["a"]}
TREE = {
    "nodes": [NODE, CHILD | {"region": None, "resident_tokens": {"0": 0}}],
    "sessions": 5,
    "known": 9,
    "prompt_tokens": 21_384,
    "distinct_tokens": 5000,
}


def test_a_map_has_a_letter_for_each_owner(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/blocks?tier=gpu&worker=1&cells=5": MAP}):
        lines = place.command("cache", "map", "--worker", "1", "--cells", "5").out.splitlines()
        assert place.command("cache", "map", "--worker", "1", "--cells", "5", "--json").json == MAP
    assert lines[0] == "worker 1: 80 blocks, 21 filled, 2 held; 16 a sign"
    assert lines[1:] == ["aa.-b", "a y", "b x", ". empty   - nobody's"]


@pytest.mark.parametrize("tier", ["host", "disk"])
def test_a_map_of_another_tier_says_so(place: Place, tier: str) -> None:
    told = MAP | {"tier": tier, "worker": None}
    with running_box(place.runtime, documents() | {f"/box/v1/blocks?tier={tier}&cells=512": told}):
        lines = place.command("cache", "map", "--tier", tier).out.splitlines()
    assert lines[0] == f"{tier}: 80 blocks, 21 filled, 2 held; 16 a sign"


def test_prefixes_are_a_tree_with_what_is_shared_and_where(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/prefixes?limit=32": TREE}):
        lines = place.command("cache", "prefixes").out.splitlines()
    assert lines == [
        "5 of 9 sessions, 21,384 tokens of prompts, 5,000 of them different",
        "0 + 4,096  system  a, b, c and 2 more  [0:4,096]",
        "  4,096 + 904  —  a",
    ]
