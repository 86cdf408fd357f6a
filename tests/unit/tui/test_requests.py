"""Requests: fates of tokens, the bar of a prompt, and the answer to why."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from appliance.api.lint_views import Lint
from appliance.api.request_views import Cancelled, RequestView
from appliance.tui.frame import Frame
from appliance.tui.line import text_of, width_of
from appliance.tui.link import Refused
from appliance.tui.models.requests import RequestLine, request_lines, turn_rates
from appliance.tui.pages.changing import LintDialog, lint_lines
from appliance.tui.pages.ranges import LOOKS, legend, prompt_bar
from appliance.tui.pages.why import WhyDialog, why_lines
from appliance.tui.widgets.dialogs import Confirm
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

ACTIVE = len(example_box.active())
WHY = "GET /box/v1/requests/chatcmpl-0000/why"


def ended(frame: Frame) -> list[RequestLine]:
    return [line for line in request_lines(frame) if not line.is_active]


def test_those_under_way_stand_at_the_top_with_how_far_they_are() -> None:
    lines = request_lines(example_box.frame())
    assert [(one.outcome, one.is_active) for one in lines[:4]] == [
        ("waiting", True), ("prefill", True), ("decode", True), ("finished", False),
    ]  # fmt: skip
    waiting, _, decode = lines[:3]
    assert (waiting.share, waiting.worker, waiting.missed_tokens) == (None, None, None)
    assert (decode.share, decode.completion_tokens, decode.worker) == (20_400 / 21_300, 312, 1)


def test_turns_that_are_not_over_have_no_rate() -> None:
    without = dataclasses.replace(example_box.frame(), active=())
    assert turn_rates(example_box.frame()) == turn_rates(without)


async def test_one_under_way_is_told_so_far_and_enter_says_when_why_is_known() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("3", "j", "j")
        await pilot.pause()
        assert "decode, worker 1, 6.5 s old; queued 0.02 s, first token 0.40 s" in text(app)
        assert "20,400 read from cache; 312 tokens generated so far" in text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert [one.message for one in app._notifications] == ["it is under way: why is known once it has ended"]


WEIGHED = Cancelled(True, example_box.active()[-1], 21_600, "ends an answer after 312 tokens", None)
DONE = msgspec.structs.replace(WEIGHED, dry_run=False, effect="cancelled by console")
CANCEL = "POST /box/v1/requests/msg_a001/cancel?by=console"


@pytest.mark.parametrize("keys", ["3jjK", "2jK"])
async def test_one_under_way_is_cancelled_after_its_impact_was_seen(keys: str) -> None:
    errands = ScriptedErrands({f"{CANCEL}&dry_run=true": WEIGHED, CANCEL: DONE})
    async with console((120, 36), errands=errands) as (app, pilot):
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert isinstance(app.screen, Confirm)
        assert "ends an answer after 312 tokens" in text(app)
        await pilot.press("y")
        await pilot.pause()
        assert [route for route, _ in errands.sent] == [f"{CANCEL}&dry_run=true", CANCEL]
        assert [one.message for one in app._notifications] == ["msg_a001 cancelled by console"]


async def test_who_says_no_cancels_nothing() -> None:
    errands = ScriptedErrands({f"{CANCEL}&dry_run=true": WEIGHED})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("3", "j", "j", "K")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert [route for route, _ in errands.sent] == [f"{CANCEL}&dry_run=true"]
        assert len(app._notifications) == 0


@pytest.mark.parametrize(
    ("keys", "words"), [("3jjjK", "it has ended already"), ("2jjK", "claude-7f3a/review has no request under way")]
)
async def test_what_does_not_run_cannot_be_cancelled(keys: str, words: str) -> None:
    async with console(errands=ScriptedErrands({})) as (app, pilot):
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert [one.message for one in app._notifications] == [words]


def test_the_reason_of_most_missed_tokens_is_told_and_what_is_new_is_no_miss() -> None:
    lost, read = ended(example_box.frame())[:5:4]
    assert (lost.miss, lost.missed_tokens) == ("evicted", 6_720)
    assert (read.miss, read.missed_tokens) == (None, 0)
    assert read.share == 30_720 / 31_004


def test_what_no_engine_has_read_has_no_share() -> None:
    failed = ended(example_box.frame())[3]
    assert (failed.share, failed.missed_tokens, failed.ranges) == (None, None, [])


def test_ranges_cover_the_prompt_in_order() -> None:
    for line in ended(example_box.frame()):
        if line.ranges:
            assert sum(one.tokens for one in line.ranges) == line.prompt_tokens
            assert all(one.kind in LOOKS for one in line.ranges)


def test_a_prompt_is_a_bar_in_its_own_order() -> None:
    line = ended(example_box.frame())[0]
    bar = text_of(prompt_bar(line.ranges, 31))
    assert bar == "█" * 24 + "▚" * 6 + "░"
    assert text_of(legend(line.ranges)).split() == ["█", "gpu", "24,000", "░", "new", "280", "▚", "missed", "6,720"]


def test_turns_of_a_session_have_their_rates_the_oldest_first() -> None:
    rates = turn_rates(example_box.frame())["claude-7f3a"]
    newest = ended(example_box.frame())[0]
    assert rates[-1] == newest.share
    assert turn_rates(Frame(at=0.0)) == {}


def test_an_answer_has_its_advice_and_both_texts_side_by_side() -> None:
    lines = [text_of(line) for line in why_lines(example_box.why(), 80)]
    assert lines[0] == "pi-0002 asked 31,002 tokens."
    assert any("→ Turn countdown on." in line for line in lines)
    assert any("first difference: token 24,000 in messages[3]" in line for line in lines)
    assert any("The time is 14:05" in line and "The time is 14:09" in line for line in lines)
    assert all(width_of(line) <= 80 for line in why_lines(example_box.why(), 80))


async def test_enter_asks_why_and_esc_goes_back() -> None:
    errands = ScriptedErrands({WHY: example_box.why()})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("3", *"j" * ACTIVE)
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, WhyDialog)
        shown = text(app)
        assert "6,720 tokens" in shown
        assert "Turn countdown on." in shown
        await pilot.press("escape")
        await pilot.pause()
        assert "arrived" in text(app)


def test_what_clients_change_is_told_with_its_cost_its_texts_and_the_rule_for_it() -> None:
    told = list(lint_lines(example_box.lint(), 80))
    lines = [text_of(line) for line in told]
    assert lines[0] == "24 requests in the last 1h00m"
    whole = " ".join(" ".join(lines).split())
    assert (
        "something changed in system, behind 'Today:' in 8 of 9 requests; computing that anew took about 8.8 s" in whole
    )
    assert any("Nov 23" in line and "Nov 24" in line for line in lines)
    assert "rule dates, which is off → Turn it on: stabiliser.dates = true." in whole
    assert "something changed in 1 of 4 requests" in whole
    assert all(width_of(line) <= 80 for line in told)


def test_clients_that_change_nothing_are_said_to() -> None:
    lines = [text_of(line) for line in lint_lines(Lint(60.0, 3, []), 80)]
    assert lines[1] == "none of them had changed anything that could have been read from cache"


async def test_c_asks_what_clients_change() -> None:
    errands = ScriptedErrands({"GET /box/v1/lint": example_box.lint()})
    async with console(errands=errands) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, LintDialog)
        assert "stabiliser.dates = true" in text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "arrived" in text(app)


async def test_a_request_that_is_forgotten_is_said_to_be() -> None:
    async with console(errands=ScriptedErrands({WHY: Refused(404, "no request is remembered")})) as (app, pilot):
        await pilot.press("3", *"j" * ACTIVE)
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert [one.message for one in app._notifications] == ["no request is remembered"]


async def test_the_request_under_the_cursor_is_told_in_full() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("3", *"j" * ACTIVE)
        await pilot.pause()
        assert "evicted" in text(app)
        await pilot.press("j", "j", "j")
        await pilot.pause()
        assert "the engine ended" in text(app)


async def test_requests_that_ended_without_an_error_and_unread_say_so() -> None:
    aborted = [dataclass_of(one) for one in example_box.requests(4)]
    frame = dataclasses.replace(example_box.frame(), requests=tuple(aborted), active=())
    async with console((120, 36), frame=frame) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        assert "aborted: no engine has read it" in text(app)


def dataclass_of(view: RequestView) -> RequestView:
    return msgspec.structs.replace(view, outcome="aborted", error=None, ranges=[])
