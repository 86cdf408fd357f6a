from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds, Condition, Rule, hint_value
from appliance.cache.rule_text import condition_text
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.conversation import Hints

LEAD = SessionContext(
    state=SessionState.IDLE,
    client="claude-cli/2.1.0 (external, cli)",
    model="Qwen/Qwen3-8B",
    keeps_thinking=False,
    shared=True,
    hints=Hints(priority=3, total_requests=10),
)


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        (Condition(), True),
        (Condition(regions=frozenset({Region.USER, Region.IMAGE})), True),
        (Condition(regions=frozenset({Region.IMAGE})), False),
        (Condition(states=frozenset({SessionState.IDLE})), True),
        (Condition(states=frozenset({SessionState.RUNNING})), False),
        (Condition(roles=frozenset({SessionRole.SUBAGENT})), False),
        (Condition(keeps_thinking=False), True),
        (Condition(keeps_thinking=True), False),
        (Condition(shared=True), True),
        (Condition(shared=False), False),
        (Condition(client="Claude-CLI/*"), True),
        (Condition(client="claude-cli"), False),
        (Condition(model="*/qwen3-?b"), True),
        (Condition(model="*/qwen3-??b"), False),
        (Condition(hints=(("priority", Bounds(low=3)),)), True),
        (Condition(hints=(("priority", Bounds(low=4)),)), False),
        (Condition(hints=(("priority", Bounds(high=2)),)), False),
        (Condition(hints=(("priority", Bounds(3, 3)), ("total_requests", Bounds(high=10)))), True),
        (Condition(hints=(("output_tokens", Bounds(high=10)),)), False),
        (Condition(regions=frozenset({Region.USER}), client="codex*"), False),
    ],
)
def test_a_condition_holds_when_all_of_it_does(condition: Condition, is_met: bool) -> None:
    assert condition.matches(Region.USER, LEAD) == is_met


def test_what_is_unknown_fits_only_a_pattern_for_anything() -> None:
    nothing = SessionContext()
    assert Condition(client="*", model="*").matches(Region.USER, nothing)
    assert not Condition(client="?*").matches(Region.USER, nothing)
    assert not Condition(keeps_thinking=False).matches(Region.USER, nothing)
    assert not Condition(shared=False).matches(Region.USER, nothing)


def test_every_hint_with_bounds_is_a_hint() -> None:
    assert [hint_value(Hints(), name) for name in HINTS] == [0, None, None, None, None]
    assert hint_value(Hints(tool_wait_seconds=1.5), "tool_wait_ms") == 1500


def test_a_rule_is_called_by_file_and_line() -> None:
    assert Rule(Condition(), 35, file=Path("a/b.toml"), line=7).label == "b.toml:7"


def test_the_text_of_a_condition_names_what_it_asks_for() -> None:
    condition = Condition(
        frozenset({Region.TOOLS, Region.SYSTEM}),
        frozenset({SessionState.IDLE}),
        keeps_thinking=False,
        model="q*",
        hints=(("priority", Bounds(1, 5)), ("output_tokens", Bounds(low=2)), ("total_requests", Bounds(high=9))),
    )
    assert condition_text(condition) == (
        "region system or tools, state idle, keeps_thinking no, model q*, "
        "hints priority 1 to 5 and output_tokens ≥ 2 and total_requests ≤ 9"
    )
    assert condition_text(Condition()) == "anything"
