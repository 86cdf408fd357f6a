"""9 Engine: each worker's phase, load, cache and mirror; the one under the cursor in full."""

from __future__ import annotations

from functools import partial

from textual.app import ComposeResult

from appliance.tui import figures, ink
from appliance.tui.line import Line, beside, cell, clean, heading, words
from appliance.tui.machine import GpuLoad
from appliance.tui.models.engines import EngineLine, engines
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import by_phase, count_of, share_of, size_of
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("worker", 6, right=True),
    Column("phase", 10, style=by_phase),
    Column("running", 7, count_of, right=True),
    Column("KV held", 7, share_of, right=True),
    Column("blocks", 8, count_of, right=True, rank=1),
    Column("indexed", 8, count_of, right=True, rank=1),
    Column("mirror", 9, style=lambda value: ink.PLAIN if value == "in step" else ink.WARN),
    Column("gaps", 5, count_of, right=True, rank=2),
    Column("restarts", 8, count_of, right=True, rank=1),
    Column("cpu", 6, share_of, right=True, rank=1),
    Column("memory", 9, size_of, right=True, rank=2),
    Column("devices", 0, rank=3),
)


class EnginePage(Page):
    """One vLLM engine a row. KV held: the share of its blocks that running requests hold. Mirror: has the router missed
    no event of its cache. A worker that does not answer its watchdog is killed and started again, and its requests go
    on at another."""

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
    return (
        one.id,
        one.phase,
        one.running,
        one.kv_usage,
        one.kv_blocks,
        one.indexed_blocks,
        "in step" if one.in_step else "lost step",
        one.event_gaps,
        one.restarts,
        one.cores,
        one.memory_bytes,
        " ".join(one.devices) if len(one.devices) <= 2 else f"{one.devices[0]} … {one.devices[-1]}",
    )


def _detail(engine: EngineLine | None, width: int, _height: int) -> list[Line]:
    if engine is None:
        return []
    left = [
        _fact("process", "—" if engine.pid is None else str(engine.pid)),
        _fact("devices", " ".join(engine.devices)),
        _fact("waiting", f"{figures.count(engine.prefill_blocks)} blocks of prompts to compute"),
        _fact("cpu", f"{figures.share(engine.cores)} of one core"),
        _fact("memory", figures.size(engine.memory_bytes)),
    ]
    right = [
        _fact("events", f"{figures.count(engine.event_batches)} batches"),
        _fact("lost", f"{figures.count(engine.event_gaps)} gaps  {figures.count(engine.event_resets)} resets"),
        _fact("subagents", _leads(engine)),
        *(_fact(f"gpu {gpu.device}", _gpu(gpu)) for gpu in engine.gpus),
    ]
    error = [words(("last error  ", ink.QUIET), (clean(engine.last_error), ink.BAD))] if engine.last_error else []
    return [heading(f"worker {engine.id}", width), *beside(left, right, width), *error]


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
