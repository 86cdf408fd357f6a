"""The status screen as text: it fits, nothing is cut off, and what is unknown is not shown as a number."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from appliance.api.views import (
    BoxStatus,
    LatencyView,
    LeadsView,
    MissesView,
    QueueView,
    RateView,
    StateView,
    WorkerView,
)
from appliance.tui.status_view import render
from tests.unit.api.scripted import ScriptedBox

WIDTHS = (80, 120)
HEADERS = ("worker", "phase", "devices", "requests", "KV used", "blocks", "indexed", "index", "restarts")
# The longest that a big machine would say.
BUSY_WORKER: dict[str, Any] = {
    "phase": "restarting",
    "devices": ["cuda:0", "cuda:1"],
    "restarts": 12,
    "running_requests": 256,
    "kv_blocks_total": 999_999,
    "kv_blocks_indexed": 999_999,
    "kv_usage": 1.0,
    "index_in_step": False,
}


def text_of(screen: RenderableType, width: int) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width, no_color=True).print(screen)
    return output.getvalue().splitlines()


def status_of(*workers: dict[str, Any], **fields: Any) -> BoxStatus:
    blank = ScriptedBox(worker_phases=["running"] * len(workers)).status()
    views: list[WorkerView] = [
        view.model_copy(update=worker) for view, worker in zip(blank.workers, workers, strict=True)
    ]
    return blank.model_copy(update={"workers": views, **fields})


@pytest.mark.parametrize("width", WIDTHS)
def test_a_busy_screen_fits_and_nothing_is_cut_off(width: int) -> None:
    lines = text_of(render(status_of(BUSY_WORKER, BUSY_WORKER | {"devices": ["cpu:0"]})), width)
    (heading,) = (line for line in lines if line.startswith("worker"))
    assert max(map(len, lines)) <= width
    assert all(header in heading for header in HEADERS)
    assert "…" not in "".join(lines)
    assert sum("restarting" in line and "999,999" in line and "lost step" in line for line in lines) == 2


@given(
    width=st.sampled_from(WIDTHS),
    activity=st.none() | st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=300),
    error=st.none() | st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=300),
    devices=st.lists(st.integers(0, 200).map(lambda core: f"cpu:{core}"), max_size=64),
    uptime_seconds=st.floats(0, 1e8),
    milliseconds=st.none() | st.floats(0, 1e7),
    tokens=st.integers(0, 10**12),
)
def test_no_line_is_wider_than_the_terminal(
    width: int,
    activity: str | None,
    error: str | None,
    devices: list[str],
    uptime_seconds: float,
    milliseconds: float | None,
    tokens: int,
) -> None:
    status = status_of(
        {"last_error": error, "devices": devices},
        BUSY_WORKER,
        activity=activity,
        uptime_seconds=uptime_seconds,
        latency=LatencyView(ttft_p50_ms=milliseconds, ttft_p99_ms=milliseconds),
        cache_since_start=RateView(prompt_tokens=tokens, cached_tokens=tokens, hit_rate=1.0),
    )
    lines = text_of(render(status), width)
    assert all(len(line) <= width for line in lines)
    # Two lines of devices at most: many cores are a range.
    assert len(lines) <= 15 + 2 * (300 * 2 // width + 2)


def test_unknown_is_a_dash_and_never_a_number() -> None:
    lines = text_of(render(status_of({})), 120)
    rows = {line.split("  ")[0]: line for line in lines if line}
    assert rows["read from cache, last minute"].split()[5] == "—"
    for name in ("time to first token", "time between tokens"):
        assert rows[name].split()[-4:] == ["p50", "—", "p99", "—"]
    assert lines[-1].split() == ["0", "running", "cpu", "0", "—", "—", "0", "in", "step", "0"]
    assert "%" not in "".join(lines)


def test_known_figures_are_shown_with_their_units() -> None:
    status = status_of(
        {"kv_usage": 0.55, "kv_blocks_total": 12_345, "kv_blocks_indexed": 678},
        latency=LatencyView(ttft_p50_ms=12.4, ttft_p99_ms=4321.0),
        cache_last_minute=RateView(prompt_tokens=4000, cached_tokens=3850, hit_rate=0.9625),
        uptime_seconds=3 * 3600 + 5 * 60 + 9,
    )
    text = "\n".join(text_of(render(status), 120))
    for shown in (
        "55%",
        "12,345",
        "678",
        "p50 12 ms",
        "p99 4,321 ms",
        "96.2%",
        "3,850 of 4,000 prompt tokens",
        "3h05m",
    ):
        assert shown in text


def test_the_queue_has_a_row_with_who_waits_longest() -> None:
    idle = "\n".join(text_of(render(status_of({})), 120))
    assert "0 waiting   longest —   0 refused   0 set aside" in idle
    queue = QueueView(waiting=12, oldest_seconds=4.26, refused={"full": 2, "timeout": 1}, set_aside=7)
    busy = "\n".join(text_of(render(status_of({}, queue=queue)), 120))
    assert "12 waiting   longest 4.3 s   3 refused   7 set aside" in busy


def test_reasons_are_a_row_that_is_there_only_when_something_was_computed() -> None:
    assert "computed, and why" not in "\n".join(text_of(render(status_of({})), 120))
    misses = MissesView(tokens={"first_request": 20, "routed_elsewhere": 4000})
    text = "\n".join(text_of(render(status_of({}, misses=misses)), 120))
    assert "routed elsewhere 4,000   first request 20" in text


def test_leads_of_all_workers_are_one_row_that_is_there_only_when_an_engine_has_told() -> None:
    assert "leads spared" not in "\n".join(text_of(render(status_of({}, {})), 80))
    leads = {"leads": LeadsView(spared=1, held_back=2000, in_vain=3)}
    text = "\n".join(text_of(render(status_of({}, leads, leads)), 80))
    assert "2 leads spared   4,000 held back   6 in vain" in text


def test_an_idle_cache_is_none_percent_read_not_unknown() -> None:
    rate = RateView(prompt_tokens=10, cached_tokens=0, hit_rate=0.0)
    assert "0.0%   0 of 10" in "\n".join(text_of(render(status_of({}, cache_last_minute=rate)), 120))


def test_an_error_is_told_below_the_table_with_its_worker() -> None:
    calm = text_of(render(status_of({}, {})), 80)
    upset = text_of(render(status_of({}, {"last_error": "out of memory"})), 80)
    assert upset == [*calm, "worker 1: out of memory"]


def test_all_cores_of_a_worker_are_shown_as_a_range() -> None:
    lines = text_of(render(status_of({"devices": [f"cpu:{core}" for core in range(32)]})), 80)
    assert "cpu:0 … cpu:31" in lines[-1]


@pytest.mark.parametrize("phase", ["startup", "running", "draining", "stopped"])
def test_the_headline_tells_phase_endpoint_model_and_activity(phase: str) -> None:
    first, second, *_ = text_of(render(status_of(phase=phase, activity="loading 2 workers")), 120)
    assert first.split()[:4] == ["dynamo-box", phase, "http://127.0.0.1:8000/v1", "org/small"]
    assert second == "loading 2 workers"


def test_the_screen_of_a_box_without_workers_has_only_headers() -> None:
    assert text_of(render(status_of()), 120)[-1].split()[:3] == ["worker", "phase", "devices"]


def test_what_is_remembered_is_told_with_what_was_lost_and_why() -> None:
    assert not any("remembered" in line for line in text_of(render(status_of()), 120))
    calm = StateView(bytes=12 * 2**20, queued=3, written={"requests": 5}, dropped={}, refused={}, trouble=None)
    (line,) = (line for line in text_of(render(status_of(state=calm)), 120) if "remembered" in line)
    assert line.split() == ["remembered", "12.0", "MiB", "3", "waiting"]
    full = calm.model_copy(
        update={"dropped": {"evictions": 4}, "refused": {"requests": 1}, "trouble": "the disk is full"}
    )
    (line,) = (line for line in text_of(render(status_of(state=full)), 120) if "remembered" in line)
    assert line.rstrip().endswith("3 waiting   5 lost   the disk is full")
