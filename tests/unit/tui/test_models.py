"""What screens are drawn from: verdicts, rates over windows, trees and events in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from appliance.api.cache_views import CacheView, SessionCache, SessionCaches
from appliance.api.views import LatencyView, QueueView, RateView
from appliance.tui import twins
from appliance.tui.event_feed import ToldEvent
from appliance.tui.frame import Frame
from appliance.tui.line import text_of
from appliance.tui.models.decisions import decisions
from appliance.tui.models.engines import engines
from appliance.tui.models.events import EventBook, event_lines
from appliance.tui.models.overview import overview
from appliance.tui.models.sessions import session_tree
from appliance.tui.models.verdict import Level, verdict
from appliance.tui.pages.overview import overview_lines
from appliance.tui.trail import MAX_SAMPLES, Sample, Trail, growths, hit_rates, per_second, sample_of, window
from appliance.tui.twins import TWINS
from tests.unit.tui import example_box

NOW = example_box.NOW


def trail(seconds: int, step: int = 1) -> Trail:
    kept = Trail()
    for second in range(-seconds, 1, step):
        kept.add(example_box.frame(second))
    return kept


def of_status(**changes: Any) -> Frame:
    return dataclasses.replace(example_box.frame(), status=example_box.status(**changes))


@pytest.mark.parametrize(
    ("frame", "level", "words"),
    [
        (
            example_box.frame(),
            Level.GOOD,
            "all is well: the last minute read 93.1% of its 240K prompt tokens from cache",
        ),
        (Frame(at=NOW), Level.IDLE, "no answer yet"),
        (dataclasses.replace(example_box.frame(), lost="gone"), Level.BAD, "gone"),
        (of_status(phase="startup", activity="loading"), Level.WATCH, "the box is in startup: loading"),
        (
            of_status(workers=[example_box.worker(0, phase="failed", last_error="out of memory")]),
            Level.BAD,
            "worker 0 has failed: out of memory",
        ),
        (
            of_status(workers=[example_box.worker(1, phase="restarting", last_error="killed")]),
            Level.WATCH,
            "worker 1 is being started again: killed",
        ),
        (
            of_status(workers=[example_box.worker(0, index_in_step=False)]),
            Level.WATCH,
            "worker 0: the router's view of its cache has lost step",
        ),
        (
            of_status(queue=QueueView(waiting=3, oldest_seconds=12.0)),
            Level.WATCH,
            "3 requests wait for a worker, the first for 12 s",
        ),
        (
            of_status(latency=LatencyView(ttft_p50_ms=1, ttft_p99_ms=1, loop_lag_p99_ms=250.0)),
            Level.WATCH,
            "the serving loop is slow: others wait 250 ms for it (p99)",
        ),
        (of_status(disk=example_box.disk(pid=None)), Level.WATCH, "the disk tier's keeper does not run"),
        (
            of_status(workers=[example_box.worker(0, kv_usage=0.96)]),
            Level.WATCH,
            "worker 0 is near full: what runs there holds 96.0% of its blocks",
        ),
        (
            of_status(host=example_box.host(rows=100, used=99, held=95)),
            Level.WATCH,
            "the host tier is near full: 95.0% of its blocks cannot go",
        ),
        (
            of_status(cache_last_minute=RateView(prompt_tokens=90_000, cached_tokens=9_000, hit_rate=0.1)),
            Level.WATCH,
            "only 10.0% of the last minute's 90.0K prompt tokens were read from cache",
        ),
        (
            of_status(cache_last_minute=RateView(prompt_tokens=0, cached_tokens=0, hit_rate=None)),
            Level.GOOD,
            "all is well: 7 requests at work",
        ),
    ],
)
def test_the_verdict_is_the_worst_that_holds(frame: Frame, level: Level, words: str) -> None:
    found = verdict(frame)
    assert found.level is level
    assert found.words.startswith(words)


def test_the_worst_trouble_goes_first_and_the_others_are_counted() -> None:
    workers = [example_box.worker(0, index_in_step=False), example_box.worker(1, phase="failed")]
    found = verdict(of_status(workers=workers))
    assert found.level is Level.BAD
    assert found.words == "worker 1 has failed: no reason told"
    assert [one.words for one in found.others] == ["worker 0: the router's view of its cache has lost step"]


def test_others_that_hold_are_said_where_there_is_room_and_counted_where_there_is_none() -> None:
    workers = [example_box.worker(place, index_in_step=False) for place in range(4)]
    model = overview(of_status(workers=workers), [])
    assert model is not None
    high, low = (
        [text_of(line) for line in overview_lines(model, [], 120, height) if "lost step" in text_of(line)]
        for height in (40, 22)
    )
    said = [line for line in high if line.startswith("▲ ")]
    assert [line.endswith("(and 1 more)") for line in said] == [True, False, False]
    assert next(line for line in low if line.startswith("▲ ")).endswith("lost step (and 3 more)")


def of_minute(prompt: int, cached: int, thrashed: int = 0, **misses: int) -> list[Sample]:
    """What led to `example_box.frame()`, and what came in the minute before it."""
    last = sample_of(NOW, example_box.status())
    first = last._replace(
        at=NOW - 60,
        prompt_tokens=last.prompt_tokens - prompt,
        cached_tokens=last.cached_tokens - cached,
        thrashed=last.thrashed - thrashed,
        misses={reason: last.misses.get(reason, 0) - tokens for reason, tokens in misses.items()},
    )
    return [first, last._replace(misses={reason: last.misses.get(reason, 0) for reason in misses})]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (of_minute(10_000, 8_000, thrashed=500), "thrash: 5.0% of the last minute's prompt was evicted and needed"),
        (of_minute(10_000, 8_000, thrashed=499), "all is well"),
        (of_minute(1_999, 0, thrashed=1_000), "all is well"),
        (
            of_minute(10_000, 3_000, routed_elsewhere=1_000, preempted=500),
            "the last minute read 30.0% where 45.0% was in a cache",
        ),
        (of_minute(10_000, 3_000, routed_elsewhere=1_499), "all is well"),
        (of_minute(10_000, 3_000, first_request=7_000), "all is well"),
        (of_minute(10_000, 3_000, diverged=2_000), "a client busts its cache: 20.0% of the last minute had changed"),
        (of_minute(10_000, 3_000, diverged=1_999), "all is well"),
        (of_minute(10_000, 3_000, diverged=9_000)[1:], "all is well"),
    ],
)
def test_what_could_have_been_read_is_judged_by_the_last_minute(samples: list[Sample], words: str) -> None:
    assert verdict(example_box.frame(), samples).words.startswith(words)


def test_why_little_was_read_is_said_instead_of_that_it_was_little() -> None:
    frame = of_status(cache_last_minute=RateView(prompt_tokens=10_000, cached_tokens=1_000, hit_rate=0.1))
    found = verdict(frame, of_minute(10_000, 1_000, thrashed=4_000, diverged=2_000))
    assert [found.words.split(":")[0], *(one.words.split(":")[0] for one in found.others)] == [
        "thrash",
        "a client busts its cache",
    ]


def test_a_window_is_unknown_until_it_has_been_seen() -> None:
    assert window(trail(5).until(NOW), 10.0) is None
    found = window(trail(30).until(NOW), 10.0)
    assert found is not None
    first, last = found
    assert (last.at - first.at) == pytest.approx(10.0)


def test_a_window_of_rare_samples_is_at_most_one_longer() -> None:
    found = window(trail(60, step=4).until(NOW), 10.0)
    assert found is not None
    assert 9.0 <= found[1].at - found[0].at <= 14.0


def test_the_trail_is_bounded_in_time_and_in_number_and_begins_anew_with_a_box() -> None:
    kept = trail(2_000, step=5)
    assert len(kept) == 181
    kept.add(dataclasses.replace(example_box.frame(1), lost="gone"))
    assert len(kept) == 181
    kept.add(example_box.frame(-3))
    assert len(kept) == 181
    kept.add(dataclasses.replace(example_box.frame(2), status=example_box.status(2, started_at=NOW)))
    assert len(kept) == 1
    assert MAX_SAMPLES >= 900 / 0.25


def test_what_is_shown_ends_with_its_frame() -> None:
    assert trail(10).until(NOW - 4)[-1].at == NOW - 4


def test_rates_and_curves_are_differences_of_counters() -> None:
    samples = trail(120).until(NOW)
    assert per_second(samples, 10.0, lambda one: one.prompt_tokens) == pytest.approx(4_000)
    assert per_second(samples[:1], 10.0, lambda one: one.prompt_tokens) is None
    rates = hit_rates(samples, 2.0, 30)
    assert len(rates) == 30
    assert all(rate is not None and 0.5 < rate < 1.1 for rate in rates)
    assert growths(samples, 2.0, 10, lambda one: one.prompt_tokens) == [pytest.approx(4_000)] * 10
    assert growths([], 2.0, 10, lambda one: one.prompt_tokens) == []


def test_a_span_without_a_prompt_has_no_hit_rate() -> None:
    still = Trail()
    for second in range(5):
        still.add(dataclasses.replace(example_box.frame(), at=NOW + second))
    assert hit_rates(still.until(NOW + 9), 1.0, 9) == [None] * 4


def test_the_overview_splits_what_was_read_by_tier_and_its_parts_are_the_whole() -> None:
    model = overview(example_box.frame(), trail(700).until(NOW))
    assert model is not None
    assert [one.window for one in model.reads] == ["last request", "10 s", "1 m", "10 m", "since start"]
    for rate in model.reads:
        parts = (rate.gpu_tokens, rate.host_tokens, rate.disk_tokens, rate.remote_tokens, rate.computed_tokens)
        assert sum(part or 0 for part in parts) == rate.prompt_tokens
        assert rate.share is not None
    assert model.tokens_per_second == pytest.approx(180, abs=90)


def test_the_overview_knows_no_more_than_the_box_said() -> None:
    assert overview(Frame(at=NOW), []) is None
    model = overview(dataclasses.replace(example_box.frame(), cache=None), [])
    assert model is not None
    assert [one.prompt_tokens is None for one in model.reads] == [False, True, False, True, False]
    assert model.reads[1].share is None
    new = overview(of_status(cache_last_request=None), [])
    assert new is not None
    assert new.reads[0].prompt_tokens is None
    assert model.tokens_per_second is None
    assert [(tier.tier, tier.worker) for tier in model.tiers] == [
        ("gpu", 0), ("gpu", 1), ("host", None), ("disk", None),
    ]  # fmt: skip


def test_a_tier_that_fills_says_when_it_is_full() -> None:
    model = overview(example_box.frame(), trail(120).until(NOW))
    assert model is not None
    host = next(tier for tier in model.tiers if tier.tier == "host")
    assert host.writes == pytest.approx(9 * 2**21)
    assert host.full_in == pytest.approx((32_768 - 20_480) / 5)
    gpu = model.tiers[0]
    assert gpu.writes is None
    assert gpu.full_in is None


def test_subagents_stand_below_their_lead_and_strangers_at_the_top() -> None:
    model = session_tree(example_box.frame())
    assert model is not None
    assert [(one.session, one.depth) for one in model.sessions[:4]] == [
        ("claude-7f3a", 0), ("claude-7f3a/explore", 1), ("claude-7f3a/review", 1), ("pi-0003", 0),
    ]  # fmt: skip
    assert [one.lacking_tokens for one in model.sessions[:3]] == [200, 1_300, 800]
    assert model.warm == (24_000 + 32_768) * 16 // 14_050 - 7 or model.warm


def test_sessions_that_name_each_other_as_lead_are_not_followed_for_ever() -> None:
    circle = [SessionCache("a", "b", "idle", 1, {}, 0), SessionCache("b", "a", "idle", 1, {}, 0)]
    frame = dataclasses.replace(example_box.frame(), sessions=SessionCaches(circle, 2))
    model = session_tree(frame)
    assert model is not None
    assert {one.session for one in model.sessions} == {"a", "b"}


def test_how_many_sessions_stay_warm_is_unknown_without_capacities() -> None:
    frame = dataclasses.replace(example_box.frame(), cache=CacheView(16, []))
    model = session_tree(frame)
    assert model is not None
    assert model.warm is None
    assert session_tree(Frame(at=NOW)) is None


def test_evictions_are_told_in_runs_by_owner_and_cause() -> None:
    lines = [line for line in event_lines(example_box.frame()) if line.kind == "evicted"]
    assert sum(line.count for line in lines) == 40
    assert len(lines) < 40
    assert "lost" in lines[0].words
    assert any(line.level == "watch" for line in lines)


def test_events_are_told_the_newest_first_and_unknown_ones_too() -> None:
    lines = event_lines(example_box.frame())
    assert [line.at for line in lines] == sorted((line.at for line in lines), reverse=True)
    strange = next(line for line in lines if line.kind == "new_kind")
    assert strange.words == "what 3"


def test_each_event_is_told_once_however_often_it_is_seen_and_the_oldest_make_room() -> None:
    book = EventBook()
    for number in range(0, 6_000, 500):
        seen = tuple(ToldEvent(one, NOW + one, {"type": "phase", "phase": "running"}) for one in range(number + 500))
        lines = book.lines(dataclasses.replace(example_box.frame(), events=seen, evictions=None))
        assert [line.at for line in lines] == [NOW + number + 499 - back for back in range(min(number + 500, 2_000))]


def test_a_box_that_was_started_anew_has_other_events() -> None:
    book = EventBook()
    book.lines(example_box.frame())
    anew = example_box.status(started_at=NOW)
    told = (ToldEvent(1, NOW + 1, {"type": "phase", "phase": "startup"}),)
    frame = dataclasses.replace(example_box.frame(1), status=anew, events=told, evictions=())
    assert [line.kind for line in book.lines(frame)] == ["phase"]


@pytest.mark.parametrize(
    ("event", "level", "words"),
    [
        ({"type": "phase", "phase": "draining"}, "watch", "the box is in draining"),
        (
            {"type": "worker", "worker": 1, "phase": "failed", "restarts": 2, "error": "killed"},
            "bad",
            "worker 1 is failed, 2 restarts: killed",
        ),
        ({"type": "drops", "what": "snapshots", "count": 3}, "bad", "3 snapshots found no room and are lost"),
        ({"type": "grouped", "of": "request_started", "count": 90, "seconds": 1.0}, "info", "90 more request_started"),
        ({"type": "missed", "count": None}, "bad", "the box was started anew"),
        ({"type": "missed", "count": 1}, "bad", "1 event went unheard"),
        ({"type": "policy", "name": "chat", "version": None, "author": None}, "watch", "policy chat is active"),
        (
            {"type": "hint", "verb": "pin", "session": "s", "change": "given", "effect": "keeps 41K"},
            "info",
            "pin for s given: keeps 41K",
        ),
        (
            {"type": "evictions", "worker": 0, "blocks": 5, "awaited": 1, "first_number": 0, "owners": {"s": 5}},
            "watch",
            "5 blocks had to go from worker 0: s 5",
        ),
        ({"type": "phase"}, "info", ""),
    ],
)
def test_every_kind_of_event_has_words(event: dict[str, Any], level: str, words: str) -> None:
    frame = dataclasses.replace(example_box.frame(), evictions=None, events=(ToldEvent(1, NOW, event),))
    (line,) = event_lines(frame)
    assert line.level == level
    assert line.words.startswith(words)


def test_decisions_have_their_candidates_and_tokens_by_tier() -> None:
    model = decisions(example_box.frame())
    assert model is not None
    assert model.regret_share == pytest.approx(43 / 1_180)
    first = model.decisions[0]
    assert first.regret_seconds is None
    assert [one.is_chosen for one in first.candidates] == [True, False]
    assert first.candidates[1].held == (0, 24_000, 0)
    regretted = model.decisions[4]
    assert [one.is_best for one in regretted.candidates] == [False, True]
    assert decisions(Frame(at=NOW)) is None


def test_engines_are_known_without_this_machine() -> None:
    lines = engines(dataclasses.replace(example_box.frame(), loads={}))
    assert [(one.id, one.cores) for one in lines] == [(0, None), (1, None)]


@pytest.mark.parametrize("name", sorted({*TWINS} - {"overview", "blocks", "history"}))
def test_every_row_of_a_list_has_a_value_for_each_column(name: str) -> None:
    page = getattr(twins, name)
    model = TWINS[name].model(example_box.frame(), [])
    assert {len(row.values) for row in page.rows(model)} == {len(page.COLUMNS)}
