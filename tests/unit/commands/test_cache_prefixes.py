from __future__ import annotations

from typing import Any

import pytest

from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

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
    "nodes": [NODE, CHILD | {"region": None, "resident_tokens": {"0": 0}, "text": "Heron.\n"}],
    "sessions": 5,
    "known": 9,
    "block_tokens": 16,
    "prompt_tokens": 21_384,
    "distinct_tokens": 5000,
}


FORK = {
    "token": 41,
    "shared_block_tokens": 32,
    "before": "answer: a ",
    "sides": [
        {"session": "a/1", "prompt_tokens": 60, "place": "messages[1]", "text": "Heron."},
        {"session": "b", "prompt_tokens": 61, "place": "messages[1]", "text": "Otter."},
    ],
}
MATCH = {
    "node": 1, "sessions": 1, "names": ["a"], "token": 41, "place": "system",
    "snippet": "say Heron.", "start": 4, "length": 5, "count": 1,
}  # fmt: skip


def test_prefixes_are_a_tree_with_what_is_shared_where_and_how_it_begins(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/prefixes?limit=32&text=60": TREE}):
        lines = place.command("cache", "prefixes").out.splitlines()
        assert place.command("cache", "prefixes", "--json").json == TREE
    assert lines == [
        "5 of 9 sessions, 21,384 tokens of prompts, 5,000 of them different",
        "0 + 4,096  system  a, b, c and 2 more  [0:4,096]",
        "  4,096 + 904  —  a  Heron.\\n",
    ]


def test_words_are_searched_in_prompts(place: Place) -> None:
    told = TREE | {"search": {"words": "a heron", "matches": [MATCH], "read_tokens": 5000, "cut": "time"}}
    with running_box(place.runtime, documents() | {"/box/v1/prefixes?limit=9&text=60&search=a%20heron": told}):
        lines = place.command("cache", "prefixes", "--limit", "9", "--search", "a heron").out.splitlines()
    assert lines[:2] == ["1 place in 5,000 tokens that differ", "the time for it was over: not all was read"]
    assert "…say Heron.…" in lines


def test_two_sessions_are_compared(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/prefixes/fork?session=a%2F1&session=b": FORK}):
        lines = place.command("cache", "prefixes", "--compare", "a/1", "b").out.splitlines()
        assert place.command("cache", "prefixes", "--compare", "a/1", "b", "--json").json == FORK
    assert lines[0] == "41 tokens are shared, 32 of them in whole blocks"
    assert [part.strip() for part in lines[-1].split("   ") if part] == ["answer: a │Heron.", "answer: a │Otter."]


def test_a_search_and_a_comparison_are_not_asked_for_at_once(place: Place) -> None:
    with pytest.raises(SystemExit):
        place.command("cache", "prefixes", "--search", "x", "--compare", "a", "b")
