from __future__ import annotations

from typing import Any

import pytest

from appliance.api.context_edits import ClearThinking, ClearToolUses, Edit, decode_edits
from appliance.api.fields import Fields
from appliance.api.messages_reading import Reading
from appliance.conversation import Ignored
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import SEAL

USES = "clear_tool_uses_20250919"
THINKING = "clear_thinking_20251015"


def edits_of(*edits: Any) -> tuple[Edit, ...] | None:
    return decode_edits(Fields({"context_management": {"edits": list(edits)}}), Reading(SEAL))


def test_a_request_without_context_management_asks_for_no_edits() -> None:
    assert decode_edits(Fields({}), Reading(SEAL)) is None
    assert decode_edits(Fields({"context_management": {}}), Reading(SEAL)) == ()


def test_the_defaults_are_those_of_the_protocol() -> None:
    assert edits_of({"type": THINKING}, {"type": USES}) == (
        ClearThinking(1),
        ClearToolUses(100_000, None, keep=3, at_least_tokens=0, exclude=frozenset(), inputs_of=frozenset()),
    )


def test_everything_can_be_said() -> None:
    uses = {
        "type": USES,
        "trigger": {"type": "tool_uses", "value": 10},
        "keep": {"type": "tool_uses", "value": 0},
        "clear_at_least": {"type": "input_tokens", "value": 500},
        "exclude_tools": ["memory"],
        "clear_tool_inputs": ["bash"],
    }
    assert edits_of(uses) == (ClearToolUses(None, 10, 0, 500, frozenset({"memory"}), frozenset({"bash"})),)
    assert edits_of({"type": USES, "trigger": {"type": "input_tokens", "value": 9}, "clear_tool_inputs": True}) == (
        ClearToolUses(9, inputs_of=None),
    )
    assert edits_of({"type": THINKING, "keep": {"type": "thinking_turns", "value": 2}}) == (ClearThinking(2),)


@pytest.mark.parametrize("keep", ["all", {"type": "all"}])
def test_to_keep_all_thoughts_is_no_edit(keep: Any) -> None:
    assert edits_of({"type": THINKING, "keep": keep}) == ()


def test_edits_that_are_not_made_here_are_told() -> None:
    reading = Reading(SEAL)
    body = Fields({"context_management": {"edits": [{"type": "compact_20260112"}, {"type": THINKING}]}})
    assert decode_edits(body, reading) == (ClearThinking(1),)
    reason = "edits of type compact_20260112 are not made here"
    assert reading.ignored == [Ignored("context_management.edits[0]", reason)]


@pytest.mark.parametrize(
    ("edit", "param"),
    [
        (5, ""),
        ({}, ".type"),
        ({"type": USES, "trigger": 5}, ".trigger"),
        ({"type": USES, "trigger": {"value": 5}}, ".trigger.type"),
        ({"type": USES, "trigger": {"type": "turns", "value": 5}}, ".trigger.type"),
        ({"type": USES, "trigger": {"type": "tool_uses"}}, ".trigger.value"),
        ({"type": USES, "keep": {"type": "input_tokens", "value": 5}}, ".keep.type"),
        ({"type": USES, "keep": {"type": "tool_uses", "value": -1}}, ".keep.value"),
        ({"type": USES, "clear_at_least": {"type": "input_tokens"}}, ".clear_at_least.value"),
        ({"type": USES, "exclude_tools": "bash"}, ".exclude_tools"),
        ({"type": USES, "exclude_tools": [5]}, ".exclude_tools"),
        ({"type": USES, "clear_tool_inputs": "yes"}, ".clear_tool_inputs"),
        ({"type": USES, "clear_tool_inputs": [5]}, ".clear_tool_inputs"),
        ({"type": THINKING, "keep": "none"}, ".keep"),
        ({"type": THINKING, "keep": {"type": "thinking_turns", "value": 0}}, ".keep.value"),
    ],
)
def test_a_wrong_edit_is_named(edit: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        edits_of(edit)
    assert caught.value.param == f"context_management.edits[0]{param}"
