from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from appliance import cli
from appliance.cache.session_state import SessionRole, SessionState
from appliance.options import policy
from appliance.runtime import Runtime
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

MARK = {"type": "ephemeral", "ttl": "1h"}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "system": "You code.",
    "tools": [{"name": "read", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Fix the bug"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "1", "name": "read", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "text"}]},
    ],
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSES = {"model": "m", "input": "Hello"}


def write(place: Place, body: object, name: str = "request.json") -> str:
    path = place.home / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return str(path)


def explain(place: Place, body: object, *arguments: str) -> list[dict[str, Any]]:
    answer = place.command("policy", "explain", *arguments, "--prompt", write(place, body), "--json")
    assert answer.code == 0
    regions: list[dict[str, Any]] = answer.json["regions"]
    return regions


def test_the_list_tells_which_policy_is_active(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = place.command("policy", "list", "--json").json
    assert [(row["name"], row["active"]) for row in rows] == [("chat", False), ("coding-agent", True), ("lru", False)]
    monkeypatch.setenv("DYNAMO_BOX_CACHE__POLICY", "chat")
    assert place.command("policy", "list").out.startswith("chat          active  people")


def test_a_policy_file_that_is_active_is_in_the_list(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(place, "[[rule]]\npriority = 1", "mine.toml")
    monkeypatch.setenv("DYNAMO_BOX_CACHE__POLICY", path)
    assert place.command("policy", "list", "--json").json[-1] == {"name": path, "description": "", "active": True}


@pytest.mark.parametrize("name", ["lru", "mine.toml"])
def test_a_valid_policy_is_said_to_be_valid(name: str, place: Place) -> None:
    chosen = name if name == "lru" else write(place, "[[rule]]\npriority = 35", name)
    assert place.command("policy", "validate", chosen).out == f"{chosen}: valid, 1 rule\n"
    assert place.command("policy", "validate", chosen, "--json").json == {"policy": chosen, "valid": True, "rules": 1}


def test_without_a_name_it_is_the_active_policy(place: Place) -> None:
    assert place.command("policy", "validate").out == "coding-agent: valid, 11 rules\n"
    assert place.command("policy", "show", "--json").json["name"] == "coding-agent"


@pytest.mark.parametrize("action", ["validate", "show"])
def test_an_invalid_policy_ends_with_1_and_a_sentence(action: str, place: Place) -> None:
    path = write(place, "[[rule]]\npriority = 35\nregion = 'sytem'\n", "mine.toml")
    answer = place.command("policy", action, path)
    said = f'{path}:3: region = "sytem": unknown region; did you mean system?'
    assert (answer.code, answer.out, answer.err) == (cli.EXIT_ERROR, "", f"dynamo-box: {said}\n")
    answer = place.command("policy", action, path, "--json")
    assert (answer.code, answer.json["error"]["message"]) == (cli.EXIT_ERROR, said)


def test_show_prints_every_rule_in_order_with_its_place(place: Place) -> None:
    rule = "state = 'idle'\npriority = 9\nduration = '90s'\ntiers = 'gpu'\ncaps_rest = true\n"
    path = write(place, f"description = 'mine'\ninclude = 'lru'\n[[rule]]\n{rule}", "mine.toml")
    lines = place.command("policy", "show", path).out.splitlines()
    assert lines[:2] == ["mine: mine", "order: forecast, among what is worth the same"]
    assert [re.split(r"\s{2,}", line) for line in lines[3:]] == [
        ["mine.toml:3", "state idle", "9 for 90s", "gpu", "caps what is behind"],
        ["lru.toml:4", "anything", "35", "all"],
    ]
    assert place.command("policy", "show", path, "--json").json["rules"][0] == {
        "rule": "mine.toml:3",
        "when": {"state": ["idle"]},
        "priority": 9,
        "duration_seconds": 90.0,
        "tiers": ["gpu"],
        "caps_rest": True,
    }


@pytest.mark.parametrize("body", [MESSAGES, CHAT, RESPONSES])
def test_a_request_of_any_api_is_explained_to_what_will_be_generated(body: dict[str, Any], place: Place) -> None:
    regions = explain(place, body)
    assert regions[-1]["region"] == "output"
    assert all(region["rule"] for region in regions)


def test_each_region_has_its_place_its_rule_and_what_it_gets(place: Place) -> None:
    regions = explain(place, MESSAGES, "coding-agent", "--state", "idle", "--keeps-thinking", "no", "--shared", "yes")
    assert [(each["region"], each["priority"], each["why"]) for each in regions] == [
        ("tools", 90, None),
        ("system", 90, None),
        ("user", 35, None),
        ("thinking", 10, None),
        ("tool_call", 10, "capped by what is before"),
        ("tool_result", 10, "capped by what is before"),
        ("output", 10, None),
    ]
    assert regions[2] == {
        "region": "user", "message": 1, "block": 0, "characters": 11, "rule": regions[2]["rule"], "priority": 35,
        "duration_seconds": None, "tiers": ["gpu", "host", "disk", "remote"], "why": None,
    }  # fmt: skip
    assert regions[3]["tiers"] == ["gpu"]


def test_what_stands_behind_a_thought_lifts_it_while_a_tool_runs(place: Place) -> None:
    thinking = explain(place, MESSAGES, "--state", "tool_wait")[3]
    assert (thinking["region"], thinking["priority"], thinking["why"]) == ("thinking", 35, "what is behind needs it")


def test_a_mark_and_a_hint_are_given_as_reasons(place: Place) -> None:
    marked = {**CHAT, "nvext": {"cache_control": MARK}}
    assert [(each["priority"], each["why"]) for each in explain(place, marked, "lru")] == [(80, "a mark"), (35, None)]
    hinted = {**CHAT, "nvext": {"agent_hints": {"priority": 5}}}
    assert [(each["priority"], each["why"]) for each in explain(place, hinted, "lru")] == [(40, "a hint")] * 2


def test_directives_of_the_request_are_said_to_be_left_out(place: Place) -> None:
    body = {**CHAT, "nvext": {"retention": [{"token_start": 0, "priority": 90}]}}
    answer = place.command("policy", "explain", "lru", "--prompt", write(place, body))
    assert "left out: 1 directive" in answer.out
    assert "90" not in answer.out


def test_the_role_is_what_the_request_says_unless_the_command_says_it(place: Place) -> None:
    body = {**CHAT, "nvext": {"parent_session_id": "lead", "session_id": "child"}}
    path = write(place, body)
    assert place.command("policy", "explain", "--prompt", path, "--json").json["role"] == "subagent"
    assert place.command("policy", "explain", "--prompt", path, "--role", "lead", "--json").json["role"] == "lead"


def test_a_client_is_what_the_command_says(place: Place) -> None:
    policy = write(place, "[[rule]]\nclient = 'codex*'\npriority = 70\n", "mine.toml")
    assert [each["priority"] for each in explain(place, CHAT, policy, "--client", "Codex/1")] == [70, 70]
    assert [each["rule"] for each in explain(place, CHAT, policy)] == [None, None]


def test_the_table_has_a_line_for_each_region(place: Place) -> None:
    lines = place.command("policy", "explain", "--prompt", write(place, MESSAGES)).out.splitlines()
    assert lines[0] == "coding-agent, a lead that is running"
    assert [line.split()[0] for line in lines[1:]] == [
        "region", "tools", "system", "user", "thinking", "tool_call", "tool_result", "output",
    ]  # fmt: skip


@pytest.mark.parametrize("body", ["", "[]", "{}"])
def test_a_file_that_is_no_request_is_refused(body: str, place: Place) -> None:
    answer = place.command("policy", "explain", "--prompt", write(place, body))
    assert (answer.code, answer.out) == (cli.EXIT_ERROR, "")


def test_the_states_and_roles_of_the_command_line_are_those_of_sessions() -> None:
    assert tuple(SessionState) == policy.SESSION_STATES
    assert tuple(SessionRole) == policy.SESSION_ROLES


def test_a_picture_has_a_place_but_no_characters(place: Place, tmp_path: Path) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    regions = explain(place, {"model": "m", "messages": [{"role": "user", "content": content}]})
    assert [(each["region"], each["characters"]) for each in regions] == [("image", 0), ("user", 11), ("output", 0)]


def test_apply_tells_the_running_box_the_name_or_the_whole_path(
    place: Place, box: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.command("policy", "apply", "chat", "--json").json["name"] == "chat"
    path = write(place, "[[rule]]\npriority = 1", "mine.toml")
    monkeypatch.chdir(place.home)
    assert place.command("policy", "apply", "mine.toml", "--json").json["name"] == path
    assert place.command("policy", "apply", "mine.toml").out == "active: mine, version 2, 2 rules; until the box ends\n"


def test_apply_refuses_a_wrong_policy_before_it_asks_the_box(place: Place, box: Runtime) -> None:
    path = write(place, "[[rule]]\npriority = 101", "mine.toml")
    refused = place.command("policy", "apply", path)
    assert (refused.code, refused.out) == (1, "")
    assert "mine.toml:2: priority = 101" in refused.err


def test_apply_needs_a_running_box(place: Place) -> None:
    assert place.command("policy", "apply", "chat").code == 3


VERSION: dict[str, Any] = {
    "version": 2,
    "name": "chat",
    "author": "me",
    "note": "try it",
    "activated_at": 5.0,
    "active": True,
    "rolls_back_to": None,
    "predicted": {"hit_rate": 0.75, "active_hit_rate": 0.5, "of_seconds": 60.0},
    "prompt_tokens": 100,
    "cached_tokens": 70,
    "hit_rate": 0.7,
    "toml": "",
}
CHANGE = {"regions": ["user", "image"], "state": "idle", "role": "lead", "shared": False, "before": "35", "after": "50"}


def changing(place: Place, text: str = "--- a") -> AbstractContextManager[Runtime]:
    """A box whose answers are those of the operator API; what was sent comes back as the policy's name."""
    answers = {
        "POST /box/v1/policy/diff": {"active": "a", "name": "chat", "text": text, "changes": [CHANGE]},
        "/box/v1/policy/history?limit=20": {"versions": [VERSION, VERSION | {"active": False, "predicted": None}]},
        "POST /box/v1/policy/rollback": lambda sent: {"name": sent.get("version", "before"), "rules": [], "version": 3},
    }
    return running_box(place.runtime, documents() | answers)


def test_a_diff_tells_what_each_region_gets_before_and_after(place: Place) -> None:
    with changing(place):
        lines = place.command("policy", "diff", "chat").out.splitlines()
    assert lines[0] == "--- a"
    assert lines[-1].split() == ["user,", "image", "idle", "lead", "its", "own", "35", "50"]


def test_a_diff_of_what_says_the_same_says_so(place: Place) -> None:
    with changing(place, text=""):
        assert place.command("policy", "diff", "chat").out == "chat says the same as a, which is active\n"


def test_the_history_shows_predicted_beside_realised(place: Place) -> None:
    with changing(place):
        first, second = [line.split() for line in place.command("policy", "history").out.splitlines()[1:]]
    assert (first[:2], first[4:]) == (["2", "*"], ["chat", "me", "70.0", "%", "75.0", "%", "try", "it"])
    assert second[5:8] == ["70.0", "%", "—"]


def test_a_rollback_goes_to_the_version_that_is_named_or_to_the_one_before(place: Place) -> None:
    with changing(place):
        assert place.command("policy", "rollback", "--json").json["name"] == "before"
        assert place.command("policy", "rollback", "1", "--note", "no better").out.startswith("active: 1, version 3")
