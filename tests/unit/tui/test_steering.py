"""What the console changes: first what it comes to, then a question, then the change, then what came of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from textual.widgets import Input

from appliance.api.hint_views import HintAnswer, HintImpact
from appliance.api.policy_views import PolicyCheck, PolicyDiff, PolicyProblem, WorthChange
from appliance.api.whatif_views import WhatIfJob, WhatIfMeasured, WhatIfOutcome
from appliance.tui.link import LinkLost, Refused
from appliance.tui.models.policies import active_policy, diff_lines, problem_text
from appliance.tui.widgets.dialogs import Confirm, Form
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

IMPACT = HintImpact(84_200, {"0": 81_920}, 41_000, ["pi-0003", "pi-0004"], 9.0, "keeps 84,200 tokens; 41,000 go sooner")
ESTIMATE = HintAnswer(dry_run=True, impact=IMPACT, hint=None, effect=None)
GIVEN = HintAnswer(dry_run=False, impact=IMPACT, hint=None, effect="81,920 tokens are kept")
DRY_RUN, GIVE = "POST /box/v1/hints?dry_run=true", "POST /box/v1/hints"
CHECK, DIFF = "POST /box/v1/policy/validate", "POST /box/v1/policy/diff"
APPLY, BACK = "PUT /box/v1/policy", "POST /box/v1/policy/rollback"
CHANGES = PolicyDiff(
    "coding-agent", "coding-agent", "--- a\n+++ b\n-priority = 35\n+priority = 40\n",
    [WorthChange(["tail"], "idle", "lead", None, "35", "40")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("p", {"verb": "pin", "expires_in": 3600.0, "priority": 100}),
        ("x", {"verb": "release", "expires_in": 3600.0}),
        ("t", {"verb": "ttl", "ttl_seconds": 600.0, "expires_in": 3600.0}),
        ("i", {"verb": "priority", "priority": 1, "expires_in": 3600.0}),
        ("f", {"verb": "prefetch"}),
        ("d", {"verb": "turn_finished"}),
    ],
)
async def test_a_hint_is_given_after_its_impact_was_seen_and_agreed_to(key: str, body: dict[str, Any]) -> None:
    errands = ScriptedErrands({DRY_RUN: ESTIMATE, GIVE: GIVEN})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press(key)
        await pilot.pause()
        if key != "d":
            assert isinstance(app.screen, Form)
            await pilot.press("enter")
            await pilot.pause()
        shown = text(app)
        assert isinstance(app.screen, Confirm)
        assert "keeps 84,200 tokens; 41,000 go sooner" in shown
        assert "Go sooner: pi-0003, pi-0004." in shown
        await pilot.press("y")
        await pilot.pause()
        asked = {"session": "claude-7f3a", "by": "console"} | body
        assert errands.sent == [(DRY_RUN, asked), (GIVE, asked)]
        assert [one.message for one in app._notifications] == ["81,920 tokens are kept"]


async def test_who_says_no_gives_no_hint() -> None:
    errands = ScriptedErrands({DRY_RUN: ESTIMATE})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert [route for route, _ in errands.sent] == [DRY_RUN]
        assert len(app._notifications) == 0


@pytest.mark.parametrize("error", [Refused(404, "no session of this name"), LinkLost("the box does not answer")])
async def test_what_the_box_refuses_is_told_in_its_words(error: Exception) -> None:
    async with console(errands=ScriptedErrands({DRY_RUN: error})) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("d")
        await pilot.pause()
        assert [one.message for one in app._notifications] == [str(error)]


async def test_a_hint_is_what_was_chosen_and_its_impact_is_of_that() -> None:
    errands = ScriptedErrands({DRY_RUN: ESTIMATE, GIVE: GIVEN})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("t")
        await pilot.pause()
        assert [one.value for one in app.screen.query(Input)] == ["10min", "1h"]
        await pilot.press("ctrl+u", *"90s", "tab", "ctrl+u", *"2h", "enter")
        await pilot.pause()
        await pilot.press("y")
        await pilot.pause()
        asked = {"verb": "ttl", "session": "claude-7f3a", "by": "console", "ttl_seconds": 90.0, "expires_in": 7200.0}
        assert errands.sent == [(DRY_RUN, asked), (GIVE, asked)]


async def test_a_wrong_choice_is_told_where_it_was_made_and_can_be_mended() -> None:
    errands = ScriptedErrands({DRY_RUN: [Refused(400, "priority: must be from 0 to 100"), ESTIMATE]})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        await pilot.press("ctrl+u", *"soon", "enter")
        await pilot.pause()
        assert "for: 'soon' is not a duration such as" in text(app)
        assert errands.sent == []
        await pilot.press("ctrl+u", *"5min", "tab", *"1000", "enter")
        await pilot.pause()
        assert "priority: must be from 0 to 100" in text(app)
        assert [one.value for one in app.screen.query(Input)] == ["5min", "1000"]
        await pilot.press("tab", *"100", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        sent = [(body["expires_in"], body["priority"]) for _, body in errands.sent]
        assert sent == [(300.0, 1000), (300.0, 100)]


async def test_who_gives_up_choosing_asks_the_box_nothing() -> None:
    errands = ScriptedErrands({})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        await pilot.press("f")
        await pilot.pause()
        assert "the best one" in text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, Form)
        assert errands.sent == []


async def test_a_console_that_only_looks_changes_nothing() -> None:
    errands = ScriptedErrands({})
    async with console(errands=errands, is_read_only=True) as (app, pilot):
        for keys in (("2", "p"), ("6", "i", "a", "u")):
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
        assert errands.sent == []
        assert {one.message for one in app._notifications} == {"this console only looks"}
    assert errands.is_closed


async def test_hints_that_hold_stand_beside_their_session() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        line = next(line for line in text(app).splitlines() if "claude-7f3a " in line)
        assert "pin 50m00s" in line


async def test_an_edit_is_checked_compared_and_applied_after_a_question() -> None:
    wrong = PolicyProblem("edited:3: priority = 400: must be from 0 to 100", "edited", 3, "priority")
    checks = [PolicyCheck(False, [wrong], None), PolicyCheck(True, [], 3)]
    errands = ScriptedErrands({CHECK: checks, DIFF: CHANGES, APPLY: example_box.policy()})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("i", "x")
        await pilot.pause(0.6)
        assert "line 3: priority = 400: must be from 0 to 100" in text(app)
        await pilot.press("backspace", "number_sign")
        await pilot.pause(0.6)
        assert "valid, 3 rules" in text(app)
        app.take(example_box.frame(1))
        await pilot.press("escape", "d")
        await pilot.pause()
        shown = text(app)
        assert "edited" in shown
        assert "tail of a session that is idle, lead: 35 → 40" in shown
        assert "+priority = 40" in shown
        await pilot.press("a")
        await pilot.pause()
        assert "35 → 40" in text(app)
        await pilot.press("y")
        await pilot.pause()
        route, body = errands.sent[-1]
        assert route == APPLY
        assert body["text"].startswith("#description")
        assert body["author"] == "console"
        assert "edited" not in text(app)


async def test_an_edit_outlives_frames_and_says_when_another_policy_became_active() -> None:
    errands = ScriptedErrands({CHECK: PolicyCheck(True, [], 3)})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("i", "x", "escape")
        other = dataclasses.replace(example_box.frame(1), policy=dataclasses_replace(example_box.policy(), toml="#"))
        app.take(other)
        await pilot.pause()
        assert "another became active meanwhile" in text(app)
        await pilot.press("z")
        await pilot.pause()
        assert "edited" not in text(app)


def dataclasses_replace(view: Any, **changes: Any) -> Any:
    """Of a msgspec view."""
    import msgspec

    return msgspec.structs.replace(view, **changes)


async def test_undo_says_what_the_version_before_realised() -> None:
    before = [dataclasses_replace(one, toml=f"# {one.version}") for one in example_box.versions()]
    errands = ScriptedErrands({BACK: example_box.policy()})
    frame = dataclasses.replace(example_box.frame(), versions=tuple(before))
    async with console(errands=errands, frame=frame) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("u")
        await pilot.pause()
        assert "Back to lru, version 2?" in text(app)
        assert "realised 80.1%" in text(app)
        await pilot.press("y")
        await pilot.pause()
        assert errands.sent == [(BACK, {"version": 2, "author": "console"})]


def test_a_policy_that_says_the_same_is_said_to() -> None:
    assert diff_lines(PolicyDiff("lru", "x", "", [])) == ["says the same as lru, which is active"]
    only_text = PolicyDiff("lru", "x", "--- a\n+++ b\n+# a word\n", [])
    assert diff_lines(only_text) == ["gives every region what it gets now", "+# a word"]


def test_rules_are_told_in_words() -> None:
    model = active_policy(example_box.frame())
    assert model is not None
    assert [(one.when, one.worth, one.tiers) for one in model.rules] == [
        ("region system or tools", "90", "all"),
        ("state finished", "5 for 30 s", "gpu"),
        ("anything", "35", "all"),
    ]
    hinted = example_box.policy()
    hinted.rules[0]["when"] = {"hints": {"priority": {"min": 3}}, "shared": True}
    told = active_policy(dataclasses.replace(example_box.frame(), policy=hinted))
    assert told is not None
    assert told.rules[0].when == "hints priority min 3, shared yes"


def test_a_problem_without_a_place_is_told_whole() -> None:
    assert problem_text(PolicyProblem("no such policy", None, None, None)) == "no such policy"


REPLAY = "POST /box/v1/whatif"


def replay(state: Any, progress: float, **changes: Any) -> WhatIfJob:
    asked = {"id": "w1", "policy": "coding-agent", "active": "coding-agent", "by": "console", "asked_at": 1.0}
    known = {"last": 1_800.0, "seconds": 1.0, "measured": None, "outcomes": None, "error": None}
    return WhatIfJob(**(asked | known | {"state": state, "progress": progress} | changes))  # type: ignore[arg-type]


def outcome(role: Any, hit_rate: float | None) -> WhatIfOutcome:
    evicted = None if role == "optimum" else 340
    rates = [None if hit_rate is None else hit_rate * span / 60 for span in range(60)]
    return WhatIfOutcome(role, role, 214, 100_000, 91_000, hit_rate, 12.0, evicted, None, [], rates)


async def test_an_edit_is_replayed_over_what_was_served_beside_the_others() -> None:
    done = replay(
        "done",
        1.0,
        measured=WhatIfMeasured(214, 107, 1_800.0, 100_000, 88_000, 0.88),
        outcomes=[outcome("proposed", 0.912), outcome("active", 0.881), outcome("lru", 0.7), outcome("optimum", 0.95)],
    )
    answers = {
        CHECK: PolicyCheck(True, [], 3),
        REPLAY: replay("waiting", 0.0),
        "GET /box/v1/whatif/w1": [replay("running", 0.5), done],
    }
    async with console((120, 36), errands=ScriptedErrands(answers)) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("i", "x", "escape", "p")
        await pilot.pause(0.8)
        assert "50.0%" in text(app)
        await pilot.pause(0.8)
        shown = " ".join(text(app).split())
        assert "214 requests count, 107 before fill the caches; the box itself read 88.0%" in shown
        assert "this text 91.2%" in shown
        assert "the optimum 95.0%" in shown
        assert "— evicted" in shown
        assert "% of prompt tokens minutes" in shown
        assert "a this text b active now c LRU d the optimum" in shown
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "minutes" not in text(app)
        assert "the optimum" in text(app)


async def test_a_replay_that_runs_is_given_up_with_esc_and_one_that_failed_says_why() -> None:
    failed = replay("failed", 0.2, error="no request was recorded")
    answers = {
        CHECK: PolicyCheck(True, [], 3),
        REPLAY: replay("running", 0.1),
        "GET /box/v1/whatif/w1": failed,
        "DELETE /box/v1/whatif/w1": replay("cancelled", 0.1),
    }
    errands = ScriptedErrands(answers)
    async with console((120, 36), errands=errands) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("i", "x", "escape", "p")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause(0.7)
        assert "DELETE /box/v1/whatif/w1" in [route for route, _ in errands.sent]
        assert "no request was recorded" in text(app)
