"""Requests: fates of tokens, the bar of a prompt, and the answer to why."""

from __future__ import annotations

import dataclasses

from appliance.api.lint_views import MAX_SECONDS, Lint
from appliance.api.request_views import RequestView
from appliance.tui.frame import Frame
from appliance.tui.line import text_of, width_of
from appliance.tui.link import Refused
from appliance.tui.models.requests import request_lines, turn_rates
from appliance.tui.pages.changing import LintDialog, lint_lines
from appliance.tui.pages.ranges import LOOKS, legend, prompt_bar
from appliance.tui.pages.why import WhyDialog, why_lines
from tests.unit.tui import example_box
from tests.unit.tui.screens import ScriptedErrands, console, text

WHY = "GET /box/v1/requests/chatcmpl-0000/why"


def test_the_reason_of_most_missed_tokens_is_told_and_what_is_new_is_no_miss() -> None:
    lost, read = request_lines(example_box.frame())[:5:4]
    assert (lost.miss, lost.missed_tokens) == ("evicted", 6_720)
    assert (read.miss, read.missed_tokens) == (None, 0)
    assert read.share == 30_720 / 31_004


def test_what_no_engine_has_read_has_no_share() -> None:
    failed = request_lines(example_box.frame())[3]
    assert (failed.share, failed.missed_tokens, failed.ranges) == (None, None, [])


def test_ranges_cover_the_prompt_in_order() -> None:
    for line in request_lines(example_box.frame()):
        if line.ranges:
            assert sum(one.tokens for one in line.ranges) == line.prompt_tokens
            assert all(one.kind in LOOKS for one in line.ranges)


def test_a_prompt_is_a_bar_in_its_own_order() -> None:
    line = request_lines(example_box.frame())[0]
    bar = text_of(prompt_bar(line.ranges, 31))
    assert bar == "█" * 24 + "▚" * 6 + "░"
    assert text_of(legend(line.ranges)).split() == ["█", "gpu", "24,000", "░", "new", "280", "▚", "missed", "6,720"]


def test_turns_of_a_session_have_their_rates_the_oldest_first() -> None:
    rates = turn_rates(example_box.frame())["claude-7f3a"]
    newest = request_lines(example_box.frame())[0]
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
        await pilot.press("3")
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


async def test_c_asks_what_clients_change_in_the_last_hour_day_or_all() -> None:
    day, everything = Lint(86_400.0, 300, []), Lint(float(MAX_SECONDS), 9_000, [])
    errands = ScriptedErrands(
        {
            "GET /box/v1/lint?last=3600": example_box.lint(),
            "GET /box/v1/lint?last=86400": [day, Refused(503, "the box is starting")],
            f"GET /box/v1/lint?last={MAX_SECONDS}": everything,
        }
    )
    async with console(errands=errands) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, LintDialog)
        assert "stabiliser.dates = true" in text(app)
        assert "h last hour   d last day   a all that is remembered" in text(app)
        for key, told in (("d", "300 requests in the last 1d00h"), ("a", "9,000 requests in the last 90d00h")):
            await pilot.press(key)
            await pilot.pause()
            assert told in text(app)
        await pilot.press("d")
        await pilot.pause()
        assert "9,000 requests" in text(app)
        assert [one.message for one in app._notifications] == ["the box is starting"]
        await pilot.press("escape")
        await pilot.pause()
        assert "arrived" in text(app)


async def test_a_request_that_is_forgotten_is_said_to_be() -> None:
    async with console(errands=ScriptedErrands({WHY: Refused(404, "no request is remembered")})) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert [one.message for one in app._notifications] == ["no request is remembered"]


async def test_the_request_under_the_cursor_is_told_in_full() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        assert "evicted" in text(app)
        await pilot.press("j", "j", "j")
        await pilot.pause()
        assert "the engine ended" in text(app)


async def test_requests_that_ended_without_an_error_and_unread_say_so() -> None:
    aborted = [dataclass_of(one) for one in example_box.requests(4)]
    frame = dataclasses.replace(example_box.frame(), requests=tuple(aborted))
    async with console((120, 36), frame=frame) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        assert "aborted: no engine has read it" in text(app)


def dataclass_of(view: RequestView) -> RequestView:
    import msgspec

    return msgspec.structs.replace(view, outcome="aborted", error=None, ranges=[])
