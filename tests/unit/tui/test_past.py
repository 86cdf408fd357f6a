"""Any recorded second: what was then, what led to it, and what nobody has recorded."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from appliance.api.routing_views import PastDecision
from appliance.tui.frame import Feed, Frame, Wanted
from appliance.tui.link import Link
from appliance.tui.past import AT_ONCE, STEP_SECONDS, Past, moment_of
from appliance.tui.source import BoxSource
from tests.unit.commands.answering_box import answering
from tests.unit.tui import example_box
from tests.unit.tui.screens import console, text, universal_time

NOW = example_box.NOW
STARTED_AT = example_box.STARTED_AT
FIRST = NOW - 300
FEEDS = frozenset({Feed.EVICTIONS, Feed.REQUESTS, Feed.SESSIONS})


def told(answer: Any) -> Any:
    return json.loads(msgspec.json.encode(answer))


class Recorder(dict[str, Any]):
    """A box that has recorded every second of the last five minutes; notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.is_slow = False
        """The last minute is not written yet, but for its end."""

    def __getitem__(self, route: str) -> Any:
        self.asked.append(route)
        query = {name: values[0] for name, values in parse_qs(urlsplit(route).query).items()}
        if "snapshot" in route:
            at = min(float(query["at"]) // 1, NOW)
            if at < FIRST or (self.is_slow and NOW - 160 < at < NOW - 100):
                return {"at": 0.0, "status": {"version": "0"}}
            return {"at": at, "status": example_box.status(int(at - NOW)).model_dump()}
        if "evictions" in route:
            blocks = [one for one in example_box.evictions() if one.at <= float(query["until"])]
            drop = {"cause"}
            return {
                "evictions": [
                    {name: value for name, value in msgspec.to_builtins(one).items() if name not in drop}
                    | {"boot": 1.0}
                    for one in reversed(blocks)
                ]
            }
        until, at = float(query.get("until", NOW)), float(query.get("at", NOW))
        answers = {
            "/box/v1/policy": example_box.policy(),
            "/box/v1/policy/history": {"versions": [v for v in example_box.versions() if v.activated_at <= until]},
            "/box/v1/routing/history": {
                "decisions": [
                    PastDecision(STARTED_AT, 77 - place, until - one.age_seconds, one)
                    for place, one in enumerate(example_box.routing().decisions)
                ]
            },
            "/box/v1/cache/sessions/history": {"at": at - 4, "sessions": example_box.sessions()},
            "/box/v1/blocks/history": {"at": at - 30, "blocks": example_box.blocks()},
            "/box/v1/prefixes/history": {"at": at - 40, "prefixes": example_box.prefixes()},
            "/box/v1/hints": {"hints": example_box.hints()},
            "/box/v1/requests": {"requests": example_box.requests()},
        }
        return told(answers[urlsplit(route).path])


def test_a_second_is_told_as_it_was_with_what_had_happened_until_then(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Recorder()):
        frame = Past(Link(tmp_path / "s")).frame(NOW, NOW - 100, Wanted(FEEDS))
    assert frame.status == example_box.status(-100)
    assert (frame.at, frame.past_of) == (NOW - 100, NOW)
    assert frame.evictions
    assert max(one.at for one in frame.evictions) <= NOW - 100
    assert {one.cause for one in frame.evictions} == {"other_session"}
    assert frame.requests
    assert all(one.arrived_at + one.total_seconds <= NOW - 100 for one in frame.requests)
    assert frame.sessions == example_box.sessions()
    assert frame.recorded_at == {"sessions": NOW - 104}


def test_the_policy_of_the_past_is_the_one_that_was_active_with_those_before_it(tmp_path: Path) -> None:
    box = Recorder()
    versions = example_box.versions()
    at = versions[0].activated_at - 1.0
    with answering(tmp_path / "s", box):
        past = Past(Link(tmp_path / "s"))
        frame = past.frame(at + 1, at, Wanted(frozenset({Feed.POLICY, Feed.VERSIONS, Feed.HINTS})))
    assert frame.problems == {}
    assert frame.policy == example_box.policy()
    assert frame.versions is not None
    assert [one.version for one in frame.versions] == [one.version for one in versions[1:]]
    then, *before = frame.versions
    assert (then.active, then.hit_rate) == (True, None)
    assert not any(one.active for one in before)
    assert frame.hints == tuple(example_box.hints())
    assert f"/box/v1/policy?at={at:.3f}" in box.asked


def test_decisions_of_the_past_come_with_the_totals_of_that_second(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Recorder()):
        frame = Past(Link(tmp_path / "s")).frame(NOW, NOW - 100, Wanted(frozenset({Feed.ROUTING})))
    assert frame.routing is not None
    assert frame.routing.decisions == example_box.routing().decisions
    totals = frame.routing.totals
    assert (totals.decisions, totals.settled, totals.regretted, totals.regret_seconds) == (77, 980, 43, 12.9)


def test_maps_and_prefixes_of_the_past_say_when_they_were_recorded(tmp_path: Path) -> None:
    box = Recorder()
    with answering(tmp_path / "s", box):
        past = Past(Link(tmp_path / "s"))
        frame = past.frame(NOW, NOW - 100, Wanted(frozenset({Feed.BLOCKS, Feed.PREFIXES}), whose=1, cells=2048))
        past.frame(NOW, NOW - 100, Wanted(frozenset({Feed.BLOCKS}), whose="host"))
    assert (frame.blocks, frame.prefixes) == (example_box.blocks(), example_box.prefixes())
    assert frame.recorded_at == {"blocks": NOW - 130, "prefixes": NOW - 140}
    asked = [route.partition("?")[2].partition("&")[0] for route in box.asked if "blocks" in route]
    assert asked == ["worker=1", "tier=host"]


def test_a_second_that_stays_as_it_was_is_asked_for_once_while_it_is_looked_at(tmp_path: Path) -> None:
    box, wanted = Recorder(), Wanted(FEEDS)

    def asked(past: Past, at: float) -> list[str]:
        box.asked.clear()
        for later in (0.0, 0.5, 1.0):
            assert past.frame(NOW + later, at, wanted).sessions is not None
        return [route.partition("?")[0] for route in box.asked if "requests" in route or "sessions" in route]

    with answering(tmp_path / "s", box):
        past = Past(Link(tmp_path / "s"))
        assert asked(past, NOW - 100) == ["/box/v1/requests", "/box/v1/cache/sessions/history"]
        assert len(asked(past, NOW - 150)) == 2
        # A minute ago: what happened then may still be on its way to the file.
        assert len(asked(past, NOW - 30)) == 6


def test_requests_of_the_past_are_asked_for_by_their_time_and_not_among_the_newest(tmp_path: Path) -> None:
    box = Recorder()
    with answering(tmp_path / "s", box):
        Past(Link(tmp_path / "s")).frame(NOW, NOW - 100, Wanted(frozenset({Feed.REQUESTS})))
    assert [route for route in box.asked if "requests" in route] == [
        f"/box/v1/requests?limit=1000&until={NOW - 100:.3f}"
    ]


def test_the_curve_of_the_past_comes_in_pieces_and_is_asked_for_once(tmp_path: Path) -> None:
    box = Recorder()
    with answering(tmp_path / "s", box):
        past = Past(Link(tmp_path / "s"))
        lengths = [len(past.frame(NOW, NOW - 100, Wanted(frozenset())).samples or ()) for _ in range(12)]
    assert lengths[0] == AT_ONCE + 1 or lengths[0] == AT_ONCE
    assert lengths == sorted(lengths)
    assert lengths[-1] == lengths[-2]
    asked = [route for route in box.asked if "snapshot" in route]
    # Twelve frames ask once for their own second, which is an edge of the curve, too.
    assert len(asked) == len(set(asked)) + 1


def test_a_second_that_is_not_written_yet_is_asked_for_again(tmp_path: Path) -> None:
    box = Recorder()
    with answering(tmp_path / "s", box):
        past = Past(Link(tmp_path / "s"))
        box.is_slow = True
        assert len(past.frame(NOW - 95, NOW - 100, Wanted(frozenset())).samples or ()) < AT_ONCE
        box.is_slow = False
        assert len(past.frame(NOW - 95, NOW - 100, Wanted(frozenset())).samples or ()) >= 5


def test_samples_lead_to_their_moment_in_order(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Recorder()):
        past = Past(Link(tmp_path / "s"))
        for _ in range(8):
            frame = past.frame(NOW, NOW - 100, Wanted(frozenset()))
    assert frame.samples is not None
    times = [one.at for one in frame.samples]
    assert times == sorted(set(times))
    assert times[-1] == NOW - 100
    assert times[0] >= FIRST - STEP_SECONDS


def test_a_second_that_nobody_recorded_is_no_lost_connection(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Recorder()):
        source = BoxSource(Link(tmp_path / "s"), None, clock=lambda: NOW)
        frame = source.frame(Wanted(frozenset(), FIRST - 50))
    assert frame.lost is None
    assert frame.status is None
    assert "another version" in frame.problems["history"]


def test_a_box_that_is_gone_is_gone_in_the_past_too(tmp_path: Path) -> None:
    frame = BoxSource(Link(tmp_path / "s"), None).frame(Wanted(frozenset(), NOW - 5))
    assert frame.lost is not None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("-90s", 90), ("-10m", 600), ("-2h", 7_200), ("-1d", 86_400), (" -5s ", 5), ("14:13:10", 10), ("14:13", 20)],
)
def test_a_time_is_read_as_people_write_it(written: str, seconds: float) -> None:
    with universal_time():
        assert moment_of(written, NOW) == NOW - seconds


def test_a_time_that_is_still_to_come_was_yesterday() -> None:
    with universal_time():
        assert moment_of("14:14", NOW) == NOW + 40 - 86_400


@pytest.mark.parametrize("written", ["", "soon", "-", "-m", "-1w", "25:00", "10m"])
def test_what_is_no_time_is_none(written: str) -> None:
    assert moment_of(written, NOW) is None


def past_frame(at: float) -> Frame:
    second = int(at - NOW)
    return dataclasses.replace(example_box.frame(second), past_of=NOW, samples=(), events=None)


async def test_brackets_step_through_the_past_and_on_to_now() -> None:
    with universal_time():
        async with console(past=60) as (app, pilot):
            await pilot.press("left_square_bracket")
            assert app.past_at == NOW - 10
            app.take(past_frame(NOW - 10))
            await pilot.pause()
            shown = text(app)
            assert "PAST  14:13:10" in shown.splitlines()[0]
            assert re.search(r"\[ back +\] on +L now", shown.splitlines()[-1])
            await pilot.press("left_curly_bracket")
            assert app.past_at == NOW - 70
            await pilot.press("right_curly_bracket", "right_square_bracket")
            assert app.past_at is None


async def test_l_comes_back_to_now() -> None:
    async with console() as (app, pilot):
        await pilot.press("left_square_bracket", "L")
        assert app.past_at is None


async def test_a_frame_of_another_time_than_is_wanted_is_not_shown() -> None:
    with universal_time():
        async with console() as (app, pilot):
            await pilot.press("left_square_bracket")
            app.take(example_box.frame(5))
            await pilot.pause()
            assert "14:13:20" in text(app).splitlines()[0]
            assert len(app.trail) == 1


async def test_a_time_is_asked_for_and_what_is_none_is_said() -> None:
    async with console() as (app, pilot):
        await pilot.press("S", *"-2m", "enter")
        await pilot.pause()
        assert app.past_at == NOW - 120
        await pilot.press("S", *"soon", "enter")
        await pilot.pause()
        assert app.past_at == NOW - 120
        assert next(iter(app._notifications)).message.startswith("soon: no time")


async def test_nothing_is_changed_from_the_past() -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press("6", "left_square_bracket")
        app.take(past_frame(NOW - 10))
        await pilot.pause()
        assert "edit" not in text(app).splitlines()[-1]
        await pilot.press("i", "u")
        await pilot.pause()
        words = {one.message for one in app._notifications}
        assert words == {"this is the past: L goes back to now, where this can be done"}


@pytest.mark.parametrize(("page", "key"), [("5", "f"), ("5", "enter"), ("4", "enter")])
async def test_what_only_the_box_of_now_can_tell_is_not_asked_in_the_past(page: str, key: str) -> None:
    async with console((120, 36)) as (app, pilot):
        await pilot.press(page, "left_square_bracket")
        app.take(dataclasses.replace(example_box.frame(), past_of=NOW, samples=()))
        await pilot.pause()
        await pilot.press(key)
        await pilot.pause()
        assert "this is the past" in next(iter(app._notifications)).message
        assert len(app.screen_stack) == 1


async def test_of_which_second_a_list_is_stands_at_the_top() -> None:
    frame = dataclasses.replace(past_frame(NOW - 10), recorded_at={"sessions": NOW - 14})
    with universal_time():
        async with console() as (app, pilot):
            await pilot.press("2", "left_square_bracket")
            app.take(frame)
            await pilot.pause()
            assert "PAST  sessions of 14:13:06,  14:13:10" in text(app).splitlines()[0]


async def test_every_screen_says_what_of_the_past_is_unknown() -> None:
    frame = dataclasses.replace(past_frame(NOW - 10), routing=None, problems={"routing": "decisions are not recorded"})
    async with console((120, 36)) as (app, pilot):
        await pilot.press("8", "left_square_bracket")
        app.take(frame)
        await pilot.pause()
        assert "routing cannot be shown: decisions are not recorded" in text(app)
