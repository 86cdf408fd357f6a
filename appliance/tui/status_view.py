"""A `BoxStatus` as one screen of text. Unknown is shown as —."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from appliance.api.views import BoxStatus, LeadsView, MissesView, QueueView, RateView, StateView, WorkerView

_PHASE_STYLES = {"running": "green", "startup": "yellow", "starting": "yellow", "restarting": "yellow"}


def render(status: BoxStatus) -> RenderableType:
    errors = [_error(worker) for worker in status.workers if worker.last_error]
    return Group(_headline(status), Text(), _figures(status), Text(), _workers(status.workers), *errors)


def _headline(status: BoxStatus) -> Text:
    line = Text("dynamo-box ", style="bold")
    line.append(status.phase, style=_PHASE_STYLES.get(status.phase, "red"))
    line.append(f"  {status.endpoint}/v1  {status.model.id}  up {_duration(status.uptime_seconds)}")
    if status.activity:
        line.append(f"\n{status.activity}", style="yellow")
    return line


def _figures(status: BoxStatus) -> Table:
    table = Table.grid(padding=(0, 3))
    requests, latency = status.requests, status.latency
    table.add_row("read from cache, last minute", _rate(status.cache_last_minute))
    table.add_row("read from cache, since start", _rate(status.cache_since_start))
    if status.misses.tokens:
        table.add_row("computed, and why", _misses(status.misses))
    table.add_row("time to first token", f"p50 {_ms(latency.ttft_p50_ms)}   p99 {_ms(latency.ttft_p99_ms)}")
    table.add_row("time between tokens", f"p50 {_ms(latency.itl_p50_ms)}   p99 {_ms(latency.itl_p99_ms)}")
    table.add_row(
        "requests",
        f"{requests.active} active   {requests.finished} finished   {requests.failed} failed   "
        f"{requests.aborted} aborted   {requests.resumed} resumed",
    )
    table.add_row("queue", _queue(status.queue))
    leads = [worker.leads for worker in status.workers if worker.leads is not None]
    if leads:
        table.add_row("subagents", _leads(leads))
    if status.host is not None:
        host = status.host
        table.add_row(
            "host tier", f"{_bytes(host.bytes)}   {host.used:,} of {host.rows:,} blocks   {host.evicted:,} evicted"
        )
    if status.disk is not None:
        disk = status.disk
        table.add_row(
            "disk tier",
            f"{_bytes(disk.bytes)}   {disk.used:,} of {disk.rows:,} blocks   {disk.promoted:,} brought back",
        )
    if status.state is not None:
        table.add_row("remembered", _state(status.state))
    return table


def _state(state: StateView) -> str:
    """What is lost, and why, if anything is."""
    lost = sum(state.dropped.values()) + sum(state.refused.values())
    told = ["size unknown" if state.bytes is None else f"{state.bytes / 2**20:.1f} MiB", f"{state.queued:,} waiting"]
    told += [f"{lost:,} lost"] if lost else []
    return "   ".join([*told, *([state.trouble] if state.trouble else [])])


def _misses(misses: MissesView) -> str:
    """The most first."""
    ordered = sorted(misses.tokens.items(), key=lambda one: -one[1])
    return "   ".join(f"{reason.replace('_', ' ')} {tokens:,}" for reason, tokens in ordered)


def _queue(queue: QueueView) -> str:
    return (
        f"{queue.waiting:,} waiting   longest {_seconds(queue.oldest_seconds)}   "
        f"{sum(queue.refused.values()):,} refused   {queue.set_aside:,} set aside"
    )


def _leads(leads: list[LeadsView]) -> str:
    """Of all workers."""
    spared, held_back, in_vain = (sum(getattr(one, name) for one in leads) for name in LeadsView.model_fields)
    return f"{spared:,} leads spared   {held_back:,} held back   {in_vain:,} in vain"


def _workers(workers: list[WorkerView]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("worker", "phase", "devices", "requests", "KV used", "blocks", "indexed", "index", "restarts"):
        table.add_column(name, no_wrap=name != "devices")
    for worker in workers:
        table.add_row(
            str(worker.id),
            Text(worker.phase, style=_PHASE_STYLES.get(worker.phase, "red")),
            _devices(worker.devices),
            str(worker.running_requests),
            "—" if worker.kv_usage is None else f"{worker.kv_usage:.0%}",
            _count(worker.kv_blocks_total),
            _count(worker.kv_blocks_indexed),
            "in step" if worker.index_in_step else "lost step",
            str(worker.restarts),
        )
    return table


def _error(worker: WorkerView) -> Text:
    return Text(f"worker {worker.id}: {worker.last_error}", style="red")


def _devices(names: list[str]) -> str:
    """All cores of a CPU worker would fill the screen."""
    return " ".join(names) if len(names) <= 2 else f"{names[0]} … {names[-1]}"


def _rate(rate: RateView) -> str:
    share = "—" if rate.hit_rate is None else f"{rate.hit_rate:.1%}"
    return f"{share}   {rate.cached_tokens:,} of {rate.prompt_tokens:,} prompt tokens"


def _ms(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f} ms"


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:,.1f} s"


def _count(value: int | None) -> str:
    return "—" if value is None else f"{value:,}"


def _bytes(value: int) -> str:
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
