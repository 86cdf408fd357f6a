"""9 Engine: each worker's phase, load, cache and mirror; the one under the cursor in full."""

from __future__ import annotations

from functools import partial
from typing import Final

from textual.app import ComposeResult

from appliance.api.views import StepsView, WatchdogView
from appliance.tui import figures, ink
from appliance.tui.line import Line, beside, cell, clean, heading, words
from appliance.tui.machine import GpuLoad
from appliance.tui.models.engines import EngineLine, engines
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import by_phase, count_of, milliseconds_of, share_of, size_of
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

ANSWERS: Final = "answers"
SILENT_SHARE: Final = 0.1
"""Of its limit: an engine that is silent for less may be in the middle of a step."""

COLUMNS = (
    Column("worker", 6, right=True),
    Column("phase", 10, style=by_phase),
    Column("running", 7, count_of, right=True),
    Column("waiting", 7, count_of, right=True, rank=1),
    Column("batch", 6, count_of, right=True),
    Column("KV held", 7, share_of, right=True),
    Column("step", 7, milliseconds_of, right=True),
    Column("preempted", 9, count_of, right=True, rank=1),
    Column("watchdog", 10, style=lambda value: ink.PLAIN if value == ANSWERS else ink.WARN),
    Column("mirror", 9, style=lambda value: ink.PLAIN if value == "in step" else ink.WARN, rank=1),
    Column("restarts", 8, count_of, right=True, rank=1),
    Column("blocks", 8, count_of, right=True, rank=2),
    Column("indexed", 8, count_of, right=True, rank=3),
    Column("gaps", 5, count_of, right=True, rank=3),
    Column("cpu", 6, share_of, right=True, rank=3),
    Column("memory", 9, size_of, right=True, rank=3),
    Column("devices", 0, rank=4),
)


class EnginePage(Page):
    """One vLLM engine a row. Batch: the tokens of its last step. Step: how long one took in the last minute, half of
    them less. KV held: the share of its blocks that running requests hold. Mirror: has the router missed no event of
    its cache. A worker that does not answer its watchdog is killed and started again, and its requests go on at
    another."""

    title = "Engine"

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS, empty="no worker yet")
        yield Drawing(id="detail")

    def on_mount(self) -> None:
        self._engines: dict[str, EngineLine] = {}

    def show(self, moment: Moment) -> None:
        found = engines(moment.frame)
        self._engines = {str(one.id): one for one in found}
        table = self.query_one(Table)
        table.styles.height = min(len(found) + 2, 12)
        table.show(rows(found))
        self._show_detail()

    def on_table_moved(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        row = self.query_one(Table).row
        engine = None if row is None else self._engines.get(row.key)
        self.query_one(Drawing).draw(partial(_detail, engine))


def rows(found: list[EngineLine]) -> list[Row]:
    return [Row(str(one.id), _values(one)) for one in found]


def _values(one: EngineLine) -> tuple[str | float | None, ...]:
    steps = one.steps
    return (
        one.id,
        one.phase,
        one.running,
        None if steps is None else steps.waiting,
        None if steps is None else steps.batch_prefill_tokens + steps.batch_decode_tokens,
        one.kv_usage,
        None if steps is None else steps.step_p50_ms,
        None if steps is None else steps.preemptions,
        _watched(one.watchdog),
        "in step" if one.in_step else "lost step",
        one.restarts,
        one.kv_blocks,
        one.indexed_blocks,
        one.event_gaps,
        one.cores,
        one.memory_bytes,
        " ".join(one.devices) if len(one.devices) <= 2 else f"{one.devices[0]} … {one.devices[-1]}",
    )


def _watched(watchdog: WatchdogView | None) -> str | None:
    if watchdog is None or watchdog.silent_seconds is None:
        return None
    is_silent = watchdog.silent_seconds >= SILENT_SHARE * watchdog.limit_seconds
    return f"mute {figures.seconds(watchdog.silent_seconds)}" if is_silent else ANSWERS


def _detail(engine: EngineLine | None, width: int, _height: int) -> list[Line]:
    if engine is None:
        return []
    error = [words(("last error  ", ink.QUIET), (clean(engine.last_error), ink.BAD))] if engine.last_error else []
    return [heading(f"worker {engine.id}", width), *beside(_work(engine), _keeping(engine), width), *error]


def _work(engine: EngineLine) -> list[Line]:
    return [
        *_steps(engine.steps),
        _fact("to compute", f"{figures.count(engine.prefill_blocks)} blocks of prompts"),
        *_watchdog(engine.watchdog),
    ]


def _steps(steps: StepsView | None) -> list[Line]:
    """Of the last minute, the last ten seconds, and since the box started."""
    if steps is None:
        return []
    batch = f"{steps.batch_prefill_tokens:,} + {steps.batch_decode_tokens:,} tokens"
    rates = f"{steps.prefill_tokens_per_second:,.0f} prompt  {steps.decode_tokens_per_second:,.0f} output"
    totals = f"{figures.short(steps.prefill_tokens)} prompt  {figures.short(steps.decode_tokens)} output"
    return [
        _fact("batch", f"{figures.plural(steps.batch_requests, 'request')}  {batch}"),
        _fact("tokens/s", rates),
        _fact("tokens", totals),
        _fact("step", _times(steps.step_p50_ms, steps.step_max_ms)),
        _fact("scheduler", _times(steps.scheduler_p50_ms, steps.scheduler_max_ms)),
        _fact("preempted", figures.plural(steps.preemptions, "time")),
    ]


def _times(p50_ms: float | None, max_ms: float | None) -> str:
    return f"p50 {figures.milliseconds(p50_ms)}  worst {figures.milliseconds(max_ms)}"


def _watchdog(watchdog: WatchdogView | None) -> list[Line]:
    if watchdog is None:
        return []
    silent, limit = figures.seconds(watchdog.silent_seconds), figures.seconds(watchdog.limit_seconds)
    stalled = "no work" if watchdog.stalled_seconds is None else figures.seconds(watchdog.stalled_seconds)
    return [
        _fact("watchdog", f"mute {silent} of {limit}"),
        _fact("last answer", f"took {figures.milliseconds(watchdog.answer_ms)}"),
        _fact("no step for", stalled),
    ]


def _keeping(engine: EngineLine) -> list[Line]:
    return [
        _fact("process", "—" if engine.pid is None else str(engine.pid)),
        _fact("devices", " ".join(engine.devices)),
        _fact("cpu", f"{figures.share(engine.cores)} of one core"),
        _fact("memory", figures.size(engine.memory_bytes)),
        _fact("events", f"{figures.count(engine.event_batches)} batches"),
        _fact("lost", f"{figures.count(engine.event_gaps)} gaps  {figures.count(engine.event_resets)} resets"),
        _fact("subagents", _leads(engine)),
        *(_fact(f"gpu {gpu.device}", _gpu(gpu)) for gpu in engine.gpus),
    ]


def _fact(name: str, value: str) -> Line:
    return words((cell(name, 12), ink.QUIET), clean(value))


def _leads(engine: EngineLine) -> str:
    if engine.leads is None:
        return figures.UNKNOWN
    spared, held_back, in_vain = engine.leads
    return f"{spared:,} leads spared  {held_back:,} held back  {in_vain:,} in vain"


def _gpu(gpu: GpuLoad) -> str:
    watts = figures.UNKNOWN if gpu.watts is None else f"{gpu.watts:.0f} W"
    return (
        f"{figures.share(gpu.use)} busy  {figures.size(gpu.memory_used)} of {figures.size(gpu.memory_total)}  {watts}"
    )
