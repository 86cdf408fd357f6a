"""The box's figures in Prometheus' text format, taken from the same status that operators read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.api.views import (
    BoxStatus,
    DiskTierView,
    EvictionsView,
    HostTierView,
    MissesView,
    QueueView,
    RateView,
    RegretView,
    RemoteTierView,
    StateView,
    WorkerView,
)


class Metrics:
    """A registry of its own: vLLM's engines would unregister one another's metrics in the shared one."""

    def __init__(self, status: Callable[[], BoxStatus]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_StatusCollector(status))

    def render(self) -> bytes:
        return generate_latest(self._registry)


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], BoxStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield from _box_metrics(status)
        yield from _worker_metrics(status.workers)


def _box_metrics(status: BoxStatus) -> Iterator[Metric]:
    yield _counter("prompt_tokens", "Prompt tokens of all requests.", status.cache_since_start.prompt_tokens)
    yield _counter("cached_tokens", "Prompt tokens read from cache.", status.cache_since_start.cached_tokens)
    yield _tier_tokens(status.cache_since_start)
    yield _counter("completion_tokens", "Tokens generated.", status.completion_tokens)
    requests = CounterMetricFamily("dynamo_box_requests", "Requests by how they ended.", labels=["outcome"])
    for outcome in ("finished", "failed", "aborted", "resumed"):
        requests.add_metric([outcome], getattr(status.requests, outcome))
    yield requests
    changes = CounterMetricFamily("dynamo_box_stabilised", "What rules changed to keep prefixes.", labels=["rule"])
    for rule, count in sorted(status.stabilised.items()):
        changes.add_metric([rule], count)
    yield changes
    yield from _eviction_metrics(status.evictions)
    yield from _lower_tier_metrics(status)
    yield from _queue_metrics(status.queue)
    yield from _state_metrics(status.state)
    yield from _regret_metrics(status.regrets)
    yield from _miss_metrics(status.misses)
    speculations = CounterMetricFamily(
        "dynamo_box_speculative_prefills", "Prompts prepared before they were asked for.", labels=["outcome"]
    )
    for outcome, count in sorted(status.speculations.items()):
        speculations.add_metric([outcome], count)
    yield speculations
    yield GaugeMetricFamily("dynamo_box_requests_active", "Requests running or waiting.", status.requests.active)
    ttft = GaugeMetricFamily("dynamo_box_ttft_seconds", "Time to first token of recent requests.", labels=["quantile"])
    for quantile, value in (("0.5", status.latency.ttft_p50_ms), ("0.99", status.latency.ttft_p99_ms)):
        if value is not None:
            ttft.add_metric([quantile], value / 1000)
    yield ttft
    itl = GaugeMetricFamily("dynamo_box_itl_seconds", "Time between the last tokens of answers.", labels=["quantile"])
    for quantile, value in (("0.5", status.latency.itl_p50_ms), ("0.99", status.latency.itl_p99_ms)):
        if value is not None:
            itl.add_metric([quantile], value / 1000)
    yield itl
    lag = GaugeMetricFamily(
        "dynamo_box_loop_lag_seconds", "Waits for the loop in the last minute; 1 is the longest.", labels=["quantile"]
    )
    for quantile, value in (("0.99", status.latency.loop_lag_p99_ms), ("1", status.latency.loop_lag_max_ms)):
        if value is not None:
            lag.add_metric([quantile], value / 1000)
    yield lag


def _tier_tokens(rate: RateView) -> Metric:
    below = {tier: getattr(rate, f"{tier}_tokens") for tier in ("host", "disk", "remote")}
    family = CounterMetricFamily("dynamo_box_tier_tokens", "Cached tokens, by where they were.", labels=["tier"])
    for tier, tokens in {"gpu": rate.cached_tokens - sum(below.values()), **below}.items():
        family.add_metric([tier], tokens)
    return family


def _eviction_metrics(evictions: EvictionsView) -> Iterator[Metric]:
    labels = ["cause", "rule", "region"]
    blocks = CounterMetricFamily("dynamo_box_evicted_blocks", "Blocks that had to go, and for whom.", labels=labels)
    for kind in evictions.by_kind:
        blocks.add_metric([kind.cause, kind.rule or "", kind.region or ""], kind.blocks)
    yield blocks
    yield _counter("evicted_awaited_blocks", "Evicted blocks that a waiting request wanted.", evictions.awaited)
    yield _counter("evictions_dropped", "Evictions that were never told of.", evictions.dropped)


def _lower_tier_metrics(status: BoxStatus) -> Iterator[Metric]:
    if status.host is not None:
        yield from _host_metrics(status.host)
    if status.disk is not None:
        yield from _disk_metrics(status.disk)
    if status.remote is not None:
        yield from _remote_metrics(status.remote)


def _host_metrics(host: HostTierView) -> Iterator[Metric]:
    rows = GaugeMetricFamily("dynamo_box_host_rows", "Rows of the host tier, a block each.", labels=["state"])
    for state in ("used", "held", "indexed"):
        rows.add_metric([state], getattr(host, state))
    yield rows
    yield GaugeMetricFamily("dynamo_box_host_capacity_rows", "Rows there are in the host tier.", host.rows)
    yield GaugeMetricFamily("dynamo_box_host_bytes", "Memory of the host tier.", host.bytes)
    yield _counter("host_stored_blocks", "Blocks stored in the host tier.", host.stored)
    yield _counter("host_evicted_blocks", "Blocks that had to go from the host tier.", host.evicted)
    yield _counter("host_dropped_stores", "Blocks not stored there for want of room.", host.dropped_stores)
    yield _counter("host_reaped_rows", "Rows taken back from engines that died.", host.reaped_rows)
    yield _counter("host_rebuilds", "Times its index was mended after a death.", host.rebuilds)


def _disk_metrics(disk: DiskTierView) -> Iterator[Metric]:
    rows = GaugeMetricFamily("dynamo_box_disk_rows", "Rows of the disk tier, a block each.", labels=["state"])
    for state in ("used", "held"):
        rows.add_metric([state], getattr(disk, state))
    yield rows
    yield GaugeMetricFamily("dynamo_box_disk_capacity_rows", "Rows there are in the disk tier.", disk.rows)
    yield GaugeMetricFamily("dynamo_box_disk_bytes", "Size of the disk tier.", disk.bytes)
    yield GaugeMetricFamily("dynamo_box_disk_queued_blocks", "Blocks that wait to be written there.", disk.queued)
    yield GaugeMetricFamily("dynamo_box_disk_written_today_bytes", "Bytes written there today.", disk.written_today)
    yield _counter("disk_written_blocks", "Blocks written to the disk tier.", disk.written)
    yield _counter("disk_evicted_blocks", "Blocks that had to go from the disk tier.", disk.evicted)
    yield _counter("disk_promoted_blocks", "Blocks brought back to the host tier.", disk.promoted)
    yield _counter("disk_bad_rows", "Rows that did not give what they should hold.", disk.bad)
    yield _dropped("disk", disk)
    yield _counter("disk_read_errors", "Reads that the disk refused.", disk.read_errors)
    yield _counter("disk_write_errors", "Writes that the disk refused.", disk.write_errors)
    yield _counter("disk_recalls", "Requests for which the keeper was asked.", disk.asked)
    yield _counter("disk_late_recalls", "Requests that went on before it answered.", disk.late)
    yield _counter("disk_skipped_recalls", "Requests for which it was not asked: computing is quicker.", disk.skipped)
    yield _counter("disk_keeper_restarts", "Times the keeper was started again.", disk.restarts)


def _remote_metrics(remote: RemoteTierView) -> Iterator[Metric]:
    up = GaugeMetricFamily("dynamo_box_remote_up", "1 when the remote store is asked.", labels=["direction"])
    for direction in ("reading", "writing"):
        up.add_metric([direction], float(getattr(remote, direction) == "closed"))
    yield up
    yield GaugeMetricFamily("dynamo_box_remote_queued_blocks", "Blocks that wait to be written there.", remote.queued)
    yield GaugeMetricFamily("dynamo_box_remote_written_today_bytes", "Bytes written there today.", remote.written_today)
    yield _counter("remote_promoted_blocks", "Blocks brought from there to the host tier.", remote.promoted)
    yield _counter("remote_missed_blocks", "Blocks asked for there in vain.", remote.missed)
    yield _counter("remote_bad_blocks", "Blocks that were not what they should be.", remote.bad)
    yield _counter("remote_written_blocks", "Blocks written there.", remote.written)
    yield _counter("remote_write_errors", "Blocks that it did not take.", remote.write_errors)
    yield _counter("remote_failures", "Operations that failed or took too long.", remote.failures)
    yield _counter("remote_busy", "Operations not begun because too many were under way.", remote.busy)
    yield _counter("remote_late", "Prompts for which the time was over.", remote.late)
    yield _dropped("remote", remote)


def _dropped(tier: str, told: DiskTierView | RemoteTierView) -> Metric:
    family = CounterMetricFamily(f"dynamo_box_{tier}_dropped_blocks", "Blocks not written, and why.", labels=["reason"])
    for reason in ("full", "budget", "gone"):
        family.add_metric([reason], getattr(told, f"dropped_{reason}"))
    family.add_metric(["policy"], told.barred)
    return family


def _queue_metrics(queue: QueueView) -> Iterator[Metric]:
    yield GaugeMetricFamily("dynamo_box_queue_waiting", "Requests waiting for room on a worker.", queue.waiting)
    yield GaugeMetricFamily("dynamo_box_queue_waiting_tokens", "Tokens that they lack.", queue.waiting_tokens)
    yield GaugeMetricFamily("dynamo_box_prefill_use", "Share of time that goes into prompts.", queue.prefill_use)
    if queue.waits:
        bounds = [*map(str, queue.wait_bounds_seconds), "+Inf"]
        buckets = list(zip(bounds, accumulate(queue.waits), strict=True))
        help_text = "How long requests waited for a place on a worker."
        yield HistogramMetricFamily("dynamo_box_queue_wait_seconds", help_text, buckets, queue.waited_seconds)
    refused = CounterMetricFamily("dynamo_box_queue_refused", "Requests that got no place.", labels=["reason"])
    for reason, count in sorted(queue.refused.items()):
        refused.add_metric([reason], count)
    yield refused
    yield _counter("set_aside", "Times that a request made room for a more important one.", queue.set_aside)


def _state_metrics(state: StateView | None) -> Iterator[Metric]:
    if state is None:
        return
    if state.bytes is not None:
        yield GaugeMetricFamily("dynamo_box_state_bytes", "Size of the file that remembers.", state.bytes)
    yield GaugeMetricFamily("dynamo_box_state_queued", "Records that wait to be written.", state.queued)
    yield GaugeMetricFamily("dynamo_box_state_up", "1 when they can be written.", state.trouble is None)
    for name, help_text, counts in (
        ("written", "Records written.", state.written),
        ("dropped", "Records for which there was no room to wait.", state.dropped),
        ("refused", "Records that the file did not take.", state.refused),
    ):
        family = CounterMetricFamily(f"dynamo_box_state_{name}", help_text, labels=["kind"])
        for kind, count in sorted(counts.items()):
            family.add_metric([kind], count)
        yield family


def _miss_metrics(misses: MissesView) -> Iterator[Metric]:
    tokens = CounterMetricFamily("dynamo_box_missed_tokens", "Prompt tokens computed, and why.", labels=["reason"])
    for reason, count in misses.tokens.items():
        tokens.add_metric([reason], count)
    yield tokens
    yield _counter("unexplained_tokens", "Of the evicted ones, those nobody has told of.", misses.unexplained)
    yield _counter("thrashed_tokens", "Evicted less than a minute before they were asked for.", misses.thrashed)
    yield GaugeMetricFamily("dynamo_box_unexplained_requests", "Requests about to be explained.", misses.pending)
    yield _counter("explanations_failed", "Requests that could not be explained.", misses.failed)
    forgotten = CounterMetricFamily("dynamo_box_forgotten", "What is too old to explain with.", labels=["what"])
    for what, count in misses.forgotten.items():
        forgotten.add_metric([what], count)
    yield forgotten
    yield _counter("unnamed_evictions", "Evictions of blocks that the router had no name for.", misses.unnamed)


def _regret_metrics(regrets: list[RegretView]) -> Iterator[Metric]:
    """Together they say how often, and by how much in the mean, decisions of a kind were wrong."""
    for name, help_text, field in (
        ("routing_settled", "Decisions whose first token came, by what decided.", "settled"),
        ("routing_regretted", "Of these, another worker would have been sooner.", "regretted"),
        ("routing_regret_seconds", "By how much sooner, all together.", "regret_seconds"),
    ):
        family = CounterMetricFamily(f"dynamo_box_{name}", help_text, labels=["reason"])
        for regret in regrets:
            family.add_metric([regret.reason], getattr(regret, field))
        yield family


def _worker_metrics(workers: list[WorkerView]) -> Iterator[Metric]:
    yield _per_worker(workers, "up", "1 when the worker takes requests.", lambda w: w.phase == "running")
    yield _per_worker(workers, "running_requests", "Requests on this worker.", lambda w: w.running_requests)
    yield _per_worker(workers, "kv_blocks", "KV blocks of this worker.", lambda w: w.kv_blocks_total)
    yield _per_worker(workers, "kv_blocks_indexed", "KV blocks the router knows of.", lambda w: w.kv_blocks_indexed)
    yield _per_worker(workers, "kv_usage", "Share of KV blocks in use.", lambda w: w.kv_usage)
    yield _per_worker(workers, "index_in_step", "1 when no cache event was missed.", lambda w: w.index_in_step)
    yield _per_worker(workers, "restarts", "Restarts since the box started.", lambda w: w.restarts)
    yield _per_worker(workers, "event_gaps", "Gaps in the stream of cache events.", lambda w: w.event_gaps)
    yield _per_worker(workers, "event_resets", "Times the index lost step.", lambda w: w.event_resets)
    yield from _steps_metrics(workers)
    yield from _leads_metrics(workers)


def _steps_metrics(workers: list[WorkerView]) -> Iterator[Metric]:
    known = [(str(worker.id), worker.steps) for worker in workers if worker.steps is not None]
    waiting = GaugeMetricFamily(
        "dynamo_box_worker_waiting_requests", "In the engine, and not in its batch.", labels=["worker"]
    )
    for worker, steps in known:
        waiting.add_metric([worker], steps.waiting)
    yield waiting
    for name, help_text, field in (
        ("steps", "Steps of the engine.", "steps"),
        ("prefill_tokens", "Tokens of prompts that it computed.", "prefill_tokens"),
        ("decode_tokens", "Tokens that it decoded.", "decode_tokens"),
        ("preemptions", "Requests whose blocks it took for others; they are computed again.", "preemptions"),
    ):
        family = CounterMetricFamily(f"dynamo_box_worker_{name}", help_text, labels=["worker"])
        for worker, steps in known:
            family.add_metric([worker], getattr(steps, field))
        yield family
    for name, help_text, p50, longest in (
        ("step", "Steps of the last minute; 1 is the longest.", "step_p50_ms", "step_max_ms"),
        ("scheduler", "The part of them without the model.", "scheduler_p50_ms", "scheduler_max_ms"),
    ):
        gauge = GaugeMetricFamily(f"dynamo_box_worker_{name}_seconds", help_text, labels=["worker", "quantile"])
        for worker, steps in known:
            for quantile, value in (("0.5", getattr(steps, p50)), ("1", getattr(steps, longest))):
                if value is not None:
                    gauge.add_metric([worker, quantile], value / 1000)
        yield gauge
    yield _per_worker(workers, "silent_seconds", "How long it has owed its watchdog an answer.", _silent)


def _silent(worker: WorkerView) -> float | None:
    return None if worker.watchdog is None else worker.watchdog.silent_seconds


def _leads_metrics(workers: list[WorkerView]) -> Iterator[Metric]:
    for name, help_text, field in (
        ("leads_spared", "Sessions spared because their subagents run.", "spared"),
        ("held_back", "Requests of subagents that let others end first.", "held_back"),
        ("held_back_in_vain", "Of these, let in without room.", "in_vain"),
    ):
        family = GaugeMetricFamily(f"dynamo_box_worker_{name}", help_text, labels=["worker"])
        for worker in workers:
            if worker.leads is not None:
                family.add_metric([str(worker.id)], getattr(worker.leads, field))
        yield family


def _counter(name: str, help_text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"dynamo_box_{name}", help_text, value)


def _per_worker(
    workers: list[WorkerView], name: str, help_text: str, value: Callable[[WorkerView], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dynamo_box_worker_{name}", help_text, labels=["worker"])
    for worker in workers:
        known = value(worker)
        if known is not None:
            family.add_metric([str(worker.id)], float(known))
    return family
