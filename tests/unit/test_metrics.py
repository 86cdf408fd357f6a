from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.api.views import (
    BoxStatus,
    DiskTierView,
    EvictionsView,
    EvictionView,
    LatencyView,
    LeadsView,
    MissesView,
    ModelView,
    QueueView,
    RateView,
    RegretView,
    RemoteTierView,
    RequestsView,
    StateView,
    WatchdogView,
    WorkerView,
)
from appliance.metrics import Metrics
from tests.unit.tui import example_box

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def worker(worker_id: int, **fields: object) -> WorkerView:
    base: dict[str, object] = {
        "id": worker_id,
        "phase": "running",
        "pid": 1,
        "devices": ["cpu:0"],
        "restarts": 2,
        "running_requests": 3,
        "prefill_blocks_queued": 4,
        "kv_blocks_total": 64,
        "kv_blocks_indexed": 48,
        "kv_usage": 0.25,
        "index_in_step": True,
        "event_batches": 9,
        "event_gaps": 5,
        "event_resets": 6,
        "last_error": None,
    }
    return WorkerView.model_validate(base | fields)


def box_status(*workers: WorkerView, ttft_p50_ms: float | None = 40.0, ttft_p99_ms: float | None = 250.0) -> BoxStatus:
    return BoxStatus(
        version="1",
        phase="running",
        activity=None,
        pid=1,
        endpoint="http://127.0.0.1:8000",
        started_at=0.0,
        uptime_seconds=1.0,
        model=ModelView(id="org/small", source="small", context_tokens=8192),
        workers=list(workers),
        requests=RequestsView(active=1, finished=20, failed=3, aborted=4, resumed=5),
        cache_since_start=RateView(
            prompt_tokens=1000, cached_tokens=750, hit_rate=0.75, host_tokens=300, disk_tokens=40, remote_tokens=5
        ),
        cache_last_minute=RateView(prompt_tokens=0, cached_tokens=0, hit_rate=None),
        completion_tokens=300,
        stabilised={"dates": 2},
        latency=LatencyView(
            ttft_p50_ms=ttft_p50_ms,
            ttft_p99_ms=ttft_p99_ms,
            loop_lag_p99_ms=None if ttft_p99_ms is None else 3.0,
            loop_lag_max_ms=None if ttft_p99_ms is None else 9.0,
            itl_p50_ms=None if ttft_p99_ms is None else 20.0,
            itl_p99_ms=None if ttft_p99_ms is None else 75.0,
        ),
    )


def scrape(status: BoxStatus) -> Samples:
    families = list(text_string_to_metric_families(Metrics(lambda: status).render().decode()))
    assert all(family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    assert all(sample.name.startswith("dynamo_box_") for sample in samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def test_counters_are_those_of_the_status() -> None:
    status = box_status()
    samples = scrape(status)
    assert samples["dynamo_box_prompt_tokens_total", ()] == status.cache_since_start.prompt_tokens
    assert samples["dynamo_box_cached_tokens_total", ()] == status.cache_since_start.cached_tokens
    tiers = {"gpu": 405, "host": 300, "disk": 40, "remote": 5}
    assert {tier: samples["dynamo_box_tier_tokens_total", (("tier", tier),)] for tier in tiers} == tiers
    assert samples["dynamo_box_completion_tokens_total", ()] == status.completion_tokens
    assert samples["dynamo_box_requests_active", ()] == status.requests.active
    assert samples["dynamo_box_stabilised_total", (("rule", "dates"),)] == 2
    for outcome in ("finished", "failed", "aborted", "resumed"):
        assert samples["dynamo_box_requests_total", (("outcome", outcome),)] == getattr(status.requests, outcome)


def test_times_are_in_seconds() -> None:
    samples = scrape(box_status())
    assert samples["dynamo_box_ttft_seconds", (("quantile", "0.5"),)] == 0.04
    assert samples["dynamo_box_ttft_seconds", (("quantile", "0.99"),)] == 0.25
    assert samples["dynamo_box_itl_seconds", (("quantile", "0.5"),)] == 0.02
    assert samples["dynamo_box_itl_seconds", (("quantile", "0.99"),)] == 0.075
    assert samples["dynamo_box_loop_lag_seconds", (("quantile", "0.99"),)] == 0.003
    assert samples["dynamo_box_loop_lag_seconds", (("quantile", "1"),)] == 0.009


def test_each_worker_has_its_own_figures() -> None:
    samples = scrape(box_status(worker(0), worker(1, phase="restarting", index_in_step=False, kv_blocks_indexed=7)))
    figures = {
        name.removeprefix("dynamo_box_worker_"): (value, samples[name, (("worker", "1"),)])
        for (name, labels), value in samples.items()
        if labels == (("worker", "0"),)
    }
    assert figures == {
        "up": (1, 0),
        "running_requests": (3, 3),
        "kv_blocks": (64, 64),
        "kv_blocks_indexed": (48, 7),
        "kv_usage": (0.25, 0.25),
        "index_in_step": (1, 0),
        "restarts": (2, 2),
        "event_gaps": (5, 5),
        "event_resets": (6, 6),
    }


def test_an_engine_that_runs_tells_of_its_steps() -> None:
    watchdog = WatchdogView(limit_seconds=60.0, silent_seconds=2.5, answer_ms=3.0, stalled_seconds=None)
    told = example_box.steps(step_max_ms=None)
    samples = scrape(box_status(worker(0), worker(1, steps=told, watchdog=watchdog)))
    values = {
        name.removeprefix("dynamo_box_worker_"): value
        for (name, labels), value in samples.items()
        if labels == (("worker", "1"),)
    }
    assert values["waiting_requests"] == told.waiting
    assert values["steps_total"] == told.steps
    assert values["prefill_tokens_total"] == told.prefill_tokens
    assert values["decode_tokens_total"] == told.decode_tokens
    assert values["preemptions_total"] == told.preemptions
    assert values["silent_seconds"] == 2.5
    times = {(name, *dict(labels).values()): value for (name, labels), value in samples.items() if len(labels) == 2}
    assert {key: value for key, value in times.items() if "step_seconds" in key[0] or "scheduler" in key[0]} == {
        ("dynamo_box_worker_step_seconds", "0.5", "1"): pytest.approx(0.0238),
        ("dynamo_box_worker_scheduler_seconds", "0.5", "1"): pytest.approx(0.0017),
        ("dynamo_box_worker_scheduler_seconds", "1", "1"): pytest.approx(0.0095),
    }


def test_regret_is_told_by_reason_with_all_that_are_settled() -> None:
    regrets = [
        RegretView(reason="cost", settled=8, regretted=2, regret_seconds=0.5),
        RegretView(reason="tie", settled=3, regretted=0, regret_seconds=0.0),
    ]
    samples = scrape(box_status().model_copy(update={"regrets": regrets}))
    for reason, figures in (("cost", (8, 2, 0.5)), ("tie", (3, 0, 0.0))):
        names = ("settled", "regretted", "regret_seconds")
        assert tuple(samples[f"dynamo_box_routing_{name}_total", (("reason", reason),)] for name in names) == figures


def test_misses_are_told_by_reason() -> None:
    misses = MissesView(
        tokens={"evicted": 96, "diverged": 32},
        unexplained=16,
        pending=2,
        failed=1,
        forgotten={"prompts": 3},
        unnamed=4,
        thrashed=8,
    )
    samples = scrape(box_status().model_copy(update={"misses": misses}))
    assert samples["dynamo_box_missed_tokens_total", (("reason", "evicted"),)] == 96
    assert samples["dynamo_box_missed_tokens_total", (("reason", "diverged"),)] == 32
    assert samples["dynamo_box_forgotten_total", (("what", "prompts"),)] == 3
    figures = (
        "unexplained_tokens_total",
        "thrashed_tokens_total",
        "unexplained_requests",
        "explanations_failed_total",
        "unnamed_evictions_total",
    )
    assert [samples[f"dynamo_box_{name}", ()] for name in figures] == [16, 8, 2, 1, 4]


def test_what_engines_say_of_leads_is_told_of_those_that_said_it() -> None:
    samples = scrape(box_status(worker(0), worker(1, leads=LeadsView(spared=2, held_back=5, in_vain=1))))
    names = ("leads_spared", "held_back", "held_back_in_vain")
    assert [samples[f"dynamo_box_worker_{name}", (("worker", "1"),)] for name in names] == [2, 5, 1]
    assert not [name for name in names if (f"dynamo_box_worker_{name}", (("worker", "0"),)) in samples]


def test_what_is_unknown_is_left_out() -> None:
    samples = scrape(box_status(worker(0, kv_blocks_total=None, kv_usage=None), ttft_p50_ms=None, ttft_p99_ms=None))
    names = {name for name, _ in samples}
    assert names.isdisjoint({"dynamo_box_worker_kv_blocks", "dynamo_box_worker_kv_usage", "dynamo_box_ttft_seconds"})
    assert ("dynamo_box_worker_up", (("worker", "0"),)) in samples


def test_every_scrape_tells_the_present() -> None:
    statuses = iter([box_status(), box_status(worker(0))])
    metrics = Metrics(lambda: next(statuses))
    assert b'worker="0"' not in metrics.render()
    assert b'worker="0"' in metrics.render()


def test_waits_are_a_histogram_and_refusals_are_counted_by_reason() -> None:
    queue = QueueView(
        waiting=3,
        waiting_tokens=4000,
        prefill_use=0.5,
        wait_bounds_seconds=[0.0, 1.0],
        waits=[5, 2, 1],
        waited_seconds=9.5,
        refused={"full": 4, "timeout": 1},
        set_aside=2,
    )
    samples = scrape(box_status().model_copy(update={"queue": queue}))
    assert [samples["dynamo_box_queue_wait_seconds_bucket", (("le", le),)] for le in ("0.0", "1.0", "+Inf")] == [
        5,
        7,
        8,
    ]
    assert samples["dynamo_box_queue_wait_seconds_count", ()] == 8
    assert samples["dynamo_box_queue_wait_seconds_sum", ()] == 9.5
    assert samples["dynamo_box_queue_refused_total", (("reason", "full"),)] == 4
    assert samples["dynamo_box_queue_waiting", ()] == 3
    assert samples["dynamo_box_queue_waiting_tokens", ()] == 4000
    assert samples["dynamo_box_prefill_use", ()] == 0.5
    assert samples["dynamo_box_set_aside_total", ()] == 2


def test_evictions_are_counted_by_cause_rule_and_region() -> None:
    known = EvictionView(cause="other_session", rule="coding-agent.toml:9", region="system", blocks=3)
    unknown = EvictionView(cause="unnamed", rule=None, region=None, blocks=2)
    evictions = EvictionsView(by_kind=[known, unknown], awaited=1, dropped=4)
    samples = scrape(box_status().model_copy(update={"evictions": evictions}))
    labels = (("cause", "other_session"), ("region", "system"), ("rule", "coding-agent.toml:9"))
    assert samples["dynamo_box_evicted_blocks_total", labels] == 3
    assert samples["dynamo_box_evicted_blocks_total", (("cause", "unnamed"), ("region", ""), ("rule", ""))] == 2
    assert samples["dynamo_box_evicted_awaited_blocks_total", ()] == 1
    assert samples["dynamo_box_evictions_dropped_total", ()] == 4


def test_the_remote_store_tells_what_it_gave_and_whether_it_is_asked() -> None:
    counts = {name: number for number, name in enumerate(RemoteTierView.model_fields, 1)}
    told = counts | {"url": "redis://host/0", "reading": "closed", "writing": "open"}
    remote = RemoteTierView.model_validate(told)
    found = scrape(box_status().model_copy(update={"remote": remote}))
    assert found["dynamo_box_remote_up", (("direction", "reading"),)] == 1
    assert found["dynamo_box_remote_up", (("direction", "writing"),)] == 0
    assert found["dynamo_box_remote_promoted_blocks_total", ()] == remote.promoted
    assert found["dynamo_box_remote_failures_total", ()] == remote.failures
    assert found["dynamo_box_remote_dropped_blocks_total", (("reason", "gone"),)] == remote.dropped_gone
    assert not any(name.startswith("dynamo_box_remote") for name, _ in scrape(box_status()))


def test_the_disk_tier_tells_what_it_holds_and_what_it_could_not_do() -> None:
    counts = {name: number for number, name in enumerate(DiskTierView.model_fields, 100)}
    disk = DiskTierView.model_validate(counts | {"opened": "slab: kept", "is_direct": True})
    found = scrape(box_status().model_copy(update={"disk": disk}))
    assert found["dynamo_box_disk_rows", (("state", "used"),)] == disk.used
    assert found["dynamo_box_disk_promoted_blocks_total", ()] == disk.promoted
    assert found["dynamo_box_disk_bad_rows_total", ()] == disk.bad
    assert found["dynamo_box_disk_dropped_blocks_total", (("reason", "budget"),)] == disk.dropped_budget
    assert found["dynamo_box_disk_late_recalls_total", ()] == disk.late
    assert not any(name.startswith("dynamo_box_disk") for name, _ in scrape(box_status()))


def test_what_is_remembered_tells_its_size_and_what_was_lost() -> None:
    assert not [name for name, _ in scrape(box_status()) if name.startswith("dynamo_box_state")]
    state = StateView(
        bytes=4096, queued=3, written={"requests": 9}, dropped={"evictions": 5}, refused={}, trouble="the disk is full"
    )
    samples = scrape(box_status().model_copy(update={"state": state}))
    assert samples["dynamo_box_state_bytes", ()] == 4096
    assert samples["dynamo_box_state_queued", ()] == 3
    assert samples["dynamo_box_state_up", ()] == 0
    assert samples["dynamo_box_state_written_total", (("kind", "requests"),)] == 9
    assert samples["dynamo_box_state_dropped_total", (("kind", "evictions"),)] == 5
