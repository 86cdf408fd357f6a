"""1 Overview: is all well, how much is read instead of computed, what the tiers hold, who works."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from appliance.tui import bars, figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, beside, cell, clean, columns, heading, width_of, words
from appliance.tui.machine import Load
from appliance.tui.models.events import EventLine
from appliance.tui.models.overview import Overview, ReadRate, TierFill, WorkerLine, overview
from appliance.tui.models.verdict import Level, Verdict
from appliance.tui.moment import Moment
from appliance.tui.pages.curves import curve
from appliance.tui.pages.page import DrawnPage
from appliance.tui.trail import Sample, at_steps, growths, hit_rates

WIDE: Final = 110
VERY_WIDE: Final = 160
HIGH: Final = 30
OTHERS: Final = 2
NAMES: Final = 13
LEAST_BAR: Final = 12
HIGHEST_CURVE: Final = 18
_SIGNS: Final = {
    Level.GOOD: ("●", ink.GOOD),
    Level.IDLE: ("○", ink.QUIET),
    Level.WATCH: ("▲", ink.WARN),
    Level.BAD: ("✗", ink.BAD),
}


class OverviewPage(DrawnPage):
    """The box at a glance. Rates are in tokens: what was read, of how many there were."""

    title = "Overview"
    feeds = frozenset({Feed.CACHE, Feed.EVENTS})

    def lines(self, moment: Moment, width: int, height: int) -> list[Line]:
        model = overview(moment.frame, moment.samples)
        if model is None:
            return [words(("no answer yet …", ink.WARN))]
        return overview_lines(model, moment.samples, width, height, moment.step_seconds)


def overview_lines(
    model: Overview, samples: list[Sample], width: int, height: int, step_seconds: float = 2.0
) -> list[Line]:
    """As high as there is room: curves grow, and go first."""
    said = _verdict(model, height)
    head = [*said, []] if height >= 20 else said
    workers = _workers(model.workers, width)
    tiers = _tiers(model.tiers, width)
    if width >= WIDE:
        half = (width - 3) // 2
        upper = [*beside(_reads(model, half), _pace(model, half), width), *tiers]
    else:
        upper = [*_reads(model, width), *_pace(model, width), *tiers]
    if height >= HIGH:
        upper.append(_misses(model.misses))
    left = height - len(head) - len(upper) - len(workers) - 1
    curves = _curves(samples, step_seconds, width, min(left, HIGHEST_CURVE)) if left >= 3 else []
    happened = _happened(model.happened, width, left - len(curves))
    return [*head, *upper, *([[]] if left >= 1 else []), *curves, *workers, *happened]


def _verdict(model: Overview, height: int) -> list[Line]:
    """The worst, and below it two more where there is room; those that are not said are counted."""
    shown = model.verdict.others[:OTHERS] if height >= HIGH else []
    hidden = len(model.verdict.others) - len(shown)
    return [_said(model.verdict, f" (and {hidden} more)" if hidden else ""), *map(_said, shown)]


def _said(verdict: Verdict, more: str = "") -> Line:
    sign, style = _SIGNS[verdict.level]
    return words((f"{sign} {verdict.words}{more}", style))


def _reads(model: Overview, width: int) -> list[Line]:
    lines = [heading("prompt tokens read from cache", width), *(_read(one, width) for one in model.reads)]
    legend = [
        piece
        for kind in bars.KINDS
        if kind is not bars.REMOTE or any(rate.remote_tokens for rate in model.reads)
        for piece in words((kind.pattern, kind.style), (f" {kind.name}  ", ink.QUIET))
    ]
    return [*lines, [*words(" " * NAMES), *legend]]


def _read(rate: ReadRate, width: int) -> Line:
    amounts = f"{figures.short(rate.cached_tokens)} of {figures.short(rate.prompt_tokens)}"
    line = words(
        (cell(rate.window, NAMES), ink.QUIET),
        (cell(figures.share(rate.share), 6, right=True), ink.of_share(rate.share)),
        cell(amounts, 18, right=True),
        "  ",
    )
    parts = [bars.Part(getattr(rate, f"{kind.name}_tokens") or 0, kind.pattern, kind.style) for kind in bars.KINDS]
    return [*line, *bars.stacked(parts, max(width - width_of(line), 0))]


def _misses(misses: dict[str, int]) -> Line:
    """Why what was computed was not read, the most first."""
    total = sum(misses.values())
    parts = [f"{name.replace('_', ' ')} {figures.share(tokens / total)}" for name, tokens in misses.items() if tokens]
    return words(("computed because  ", ink.QUIET), "   ".join(parts) or figures.UNKNOWN)


def _happened(events: list[EventLine], width: int, height: int) -> list[Line]:
    """The newest first: down the left column, then the right, where there are two."""
    if height < 5 or not events:
        return []
    lines = [words((f"{figures.clock(one.at)}  {cell(one.kind, 17)}", ink.QUIET), clean(one.words)) for one in events]
    high = height - 2
    shown = beside(lines[:high], lines[high : 2 * high], width) if width >= VERY_WIDE else lines[:high]
    return [[], heading("happened last", width), *shown]


def _pace(model: Overview, width: int) -> list[Line]:
    rows = [
        _pair("first token", _quantiles(model.ttft_p50_ms, model.ttft_p99_ms)),
        _pair("between tokens", _quantiles(model.itl_p50_ms, model.itl_p99_ms)),
        _pair("generated", f"{figures.short(model.tokens_per_second)} tokens/s"),
        _pair("reuse", f"{figures.times(model.reuse)} read per written"),
        _pair("requests", f"{model.active:,} active"),
        _pair("ended", f"{figures.short(model.finished)} done  {model.failed:,} failed"),
        _pair("queue", f"{model.waiting:,} waiting  longest {figures.seconds(model.oldest_seconds)}"),
        _pair("serving loop", f"{figures.milliseconds(model.loop_lag_p99_ms)} lag p99"),
    ]
    if width < WIDE // 2 + 10:
        return [heading("pace", width), *rows]
    return [heading("pace", width), *beside(rows[:4], rows[4:], width)]


def _quantiles(half: float | None, most: float | None) -> str:
    return (
        f"{cell(figures.milliseconds(half), 6, right=True)} p50 {cell(figures.milliseconds(most), 6, right=True)} p99"
    )


def _pair(name: str, value: str) -> Line:
    return words((cell(name, 14), ink.QUIET), value)


def _tiers(tiers: list[TierFill], width: int) -> list[Line]:
    return [heading("tiers", width, "█ held  ▒ can go"), *(_tier(tier, width) for tier in tiers)]


def _tier(tier: TierFill, width: int) -> Line:
    name = tier.tier if tier.worker is None else f"{tier.tier} {tier.worker}"
    share = tier.used / tier.blocks if tier.blocks and tier.used is not None else None
    line = words((cell(name, 8), ink.QUIET), cell(figures.share(share), 6, right=True), " ")
    room = width - width_of(line)
    tail = ""
    for part in _tier_parts(tier):
        tail += part if len(tail) + len(part) <= room - LEAST_BAR else ""
    room -= len(tail)
    kind = bars.kind_of(tier.tier)
    return [
        *line,
        *bars.fill(tier.used or 0, tier.held or 0, tier.blocks or 0, room, kind),
        *words(tail),
    ]


def _tier_parts(tier: TierFill) -> Iterator[str]:
    """The most important first, each as wide for every tier."""
    yield cell(f"  {figures.short(tier.used)} of {figures.short(tier.blocks)} blocks", 25)
    flows = "" if tier.writes is None else f"↓{figures.flow(tier.writes)} ↑{figures.flow(tier.reads)}"
    yield cell(flows, 26)
    yield cell("" if tier.bytes is None else figures.size(tier.bytes), 10)
    yield cell("" if tier.full_in is None else f"full in {figures.seconds(tier.full_in)}", 15)


def _curves(samples: list[Sample], step_seconds: float, width: int, height: int) -> list[Line]:
    """Two of them, or three where there is room."""
    count = 3 if width >= VERY_WIDE else 2
    room = (width - 3 * (count - 1)) // count
    steps = 2 * (room - 6)
    minutes = f"{steps * step_seconds / 60:.0f} min"
    speeds = growths(samples, step_seconds, steps, attrgetter("completion_tokens"))
    firsts = at_steps(samples, step_seconds, steps, attrgetter("ttft_p50_ms"))
    fast, slow = _highest(speeds), _highest(firsts)
    drawn = [
        curve("read from cache", hit_rates(samples, step_seconds, steps), 1.0, "100%", minutes, room, height),
        curve("generated tokens/s", speeds, fast, figures.short(fast), minutes, room, height),
        curve("first token, ms p50", firsts, slow, figures.short(slow), minutes, room, height),
    ]
    return columns(drawn[:count], [room] * count)


def _highest(values: list[float | None]) -> float:
    return max([1.0, *(one for one in values if one is not None)])


def _workers(workers: list[WorkerLine], width: int) -> list[Line]:
    """Restarts have a column only where there were any."""
    has_restarts = any(worker.restarts for worker in workers)
    return [heading("workers", width), *(_worker(one, has_restarts, width) for one in workers)]


def _worker(worker: WorkerLine, has_restarts: bool, width: int) -> Line:
    restarts = figures.plural(worker.restarts, "restart") if worker.restarts else ""
    line = words(
        (cell(str(worker.id), 3), ink.STRONG),
        (cell(worker.phase, 11), ink.of_phase(worker.phase)),
        cell(f"{worker.running:,} running", 12),
        cell(f"KV {figures.share(worker.kv_usage)}", 10),
        ("in step  " if worker.in_step else "lost step", ink.PLAIN if worker.in_step else ink.WARN),
        (cell(f" {restarts}", 13) if has_restarts else "", ink.WARN),
    )
    room, taken = width - width_of(line), ""
    for part in _load_parts(worker.load):
        taken += part if len(taken) + len(part) <= room else ""
    return [*line, *words((taken, ink.PLAIN if worker.load is not None else ink.QUIET))]


def _load_parts(load: Load | None) -> Iterator[str]:
    """The most important first, each as wide for every worker."""
    if load is None:
        yield f"  cpu {figures.UNKNOWN}   memory {figures.UNKNOWN}"
        return
    for gpu in load.gpus:
        used, total = figures.size(gpu.memory_used), figures.size(gpu.memory_total)
        memory = f"{used.split()[0] if used[-3:] == total[-3:] else used}/{total}"
        watts = figures.UNKNOWN if gpu.watts is None else f"{gpu.watts:.0f} W"
        yield f"  gpu{gpu.device}{cell(figures.share(gpu.use), 6, right=True)} {memory}{cell(watts, 6, right=True)}"
    yield cell(f"   cpu {figures.share(load.cores)}", 13)
    yield cell(f"   memory {figures.size(load.memory_bytes)}", 18)
