"""The Engine page: what each worker's scheduler and watchdog tell, and starting one again."""

from __future__ import annotations

import dataclasses

from appliance.api.views import WatchdogView
from appliance.api.worker_views import RestartAnswer, RestartImpact
from appliance.tui.models.engines import engines
from appliance.tui.pages.engine import COLUMNS, rows
from appliance.tui.widgets.dialogs import Confirm
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

IMPACT = RestartImpact(3, 41_216, 3, 9.0, "3 requests go on at another worker; 41,216 cached tokens are lost on it")
DRY_RUN, RESTART = "POST /box/v1/workers/0/restart?dry_run=true", "POST /box/v1/workers/0/restart?by=console"
ESTIMATE = RestartAnswer(0, dry_run=True, impact=IMPACT, effect=None)
DONE = RestartAnswer(0, dry_run=False, impact=IMPACT, effect="worker 0 is restarted")


def column(name: str, **changes: object) -> object:
    status = example_box.status(workers=[example_box.worker(0, **changes)])
    (row,) = rows(engines(dataclasses.replace(example_box.frame(), status=status)))
    return row.values[[one.name for one in COLUMNS].index(name)]


def watchdog(silent_seconds: float | None) -> WatchdogView:
    return WatchdogView(limit_seconds=60, silent_seconds=silent_seconds, answer_ms=None, stalled_seconds=None)


def test_an_engine_that_is_mute_for_longer_than_a_step_is_told_of() -> None:
    assert column("watchdog", watchdog=watchdog(None)) is None
    assert column("watchdog", watchdog=watchdog(0.0)) == "answers"
    assert column("watchdog", watchdog=watchdog(5.9)) == "answers"
    assert column("watchdog", watchdog=watchdog(42.0)) == "mute 42 s"


def test_what_an_older_box_does_not_tell_is_unknown() -> None:
    for name in ("waiting", "batch", "step", "preempted", "watchdog"):
        assert column(name, steps=None, watchdog=None) is None


async def test_a_worker_is_restarted_after_its_impact_was_seen_and_agreed_to() -> None:
    errands = ScriptedErrands({DRY_RUN: ESTIMATE, RESTART: DONE})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("9")
        await pilot.pause()
        await pilot.press("R")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        assert "3 requests go on at another worker" in text(app)
        await pilot.press("y")
        await pilot.pause()
        assert [route for route, _ in errands.sent] == [DRY_RUN, RESTART]
        assert [one.message for one in app._notifications] == ["worker 0 is restarted"]


async def test_who_says_no_restarts_nothing() -> None:
    errands = ScriptedErrands({DRY_RUN: ESTIMATE})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("9")
        await pilot.pause()
        await pilot.press("R")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert [route for route, _ in errands.sent] == [DRY_RUN]
        assert len(app._notifications) == 0


async def test_a_console_that_only_looks_restarts_nothing() -> None:
    errands = ScriptedErrands({})
    async with console(errands=errands, is_read_only=True) as (app, pilot):
        await pilot.press("9")
        await pilot.pause()
        await pilot.press("R")
        await pilot.pause()
        assert errands.sent == []
        assert [one.message for one in app._notifications] == ["this console only looks"]
