"""The answers of `whatif` as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from appliance.cache.whatif import LoopOutcome, Outcome
from appliance.units import format_bytes

UNKNOWN = "—"


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """A block of lines for each capacity."""
    sections = []
    for capacity_bytes, group in groupby(outcomes, key=lambda outcome: outcome.capacity_bytes):
        rows = [_row(outcome) for outcome in group]
        header = (format_bytes(capacity_bytes), "hit", "LRU to optimum", "prefill saved", "evicted blocks")
        sections.append(_aligned([header, *rows]))
    return "\n\n".join(sections)


def loop_table(outcomes: Sequence[LoopOutcome]) -> str:
    """The same for a closed loop."""
    sections = []
    for capacity_bytes, group in groupby(outcomes, key=lambda outcome: outcome.capacity_bytes):
        rows = [_loop_row(outcome) for outcome in group]
        header = (format_bytes(capacity_bytes), "hit", "mean delay", "p95", "requests/h", "prefilled tokens")
        sections.append(_aligned([header, *rows]))
    return "\n\n".join(sections)


def _row(outcome: Outcome) -> tuple[str, ...]:
    closed = UNKNOWN if outcome.gap_closed is None else f"{100 * outcome.gap_closed:.0f} %"
    return (
        outcome.contender,
        f"{100 * outcome.hit_rate:.1f} %",
        closed,
        f"{outcome.prefill_seconds_saved:,.0f} s",
        _evictions(outcome.evictions_by_region),
    )


def _evictions(by_region: dict[str, int] | None) -> str:
    if by_region is None:
        return UNKNOWN
    return ", ".join(f"{name} {count:,}" for name, count in by_region.items()) or "none"


def _loop_row(outcome: LoopOutcome) -> tuple[str, ...]:
    result = outcome.result
    return (
        outcome.contender,
        f"{100 * result.hit_rate:.1f} %",
        f"{result.mean_delay_seconds:.1f} s",
        f"{result.p95_delay_seconds:.1f} s",
        f"{result.requests_per_hour:,.0f}",
        f"{result.prefill_tokens:,}",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """The first column to the left, the last as it is, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)),
                row[-1],
            ]
        )
        for row in rows
    )
