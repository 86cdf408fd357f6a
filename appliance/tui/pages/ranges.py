"""A prompt as a bar: which of its tokens were read from where, which were new, and which were missed."""

from __future__ import annotations

from typing import Final

from rich.segment import Segment

from appliance.tui import bars, figures, ink
from appliance.tui.line import Line, cell, words
from appliance.tui.models.requests import RangeLine

NEW: Final = bars.Kind("new", "░", ink.COMPUTED)
MISSED: Final = bars.Kind("missed", "▚", ink.BAD)
LOOKS: Final = {kind.name: kind for kind in (bars.GPU, bars.HOST, bars.DISK, bars.REMOTE, NEW, MISSED)}


def prompt_bar(ranges: list[RangeLine], width: int) -> Line:
    """In the order of the prompt."""
    parts = [bars.Part(one.tokens, LOOKS[one.kind].pattern, LOOKS[one.kind].style) for one in ranges]
    return bars.stacked(parts, width)


def legend(ranges: list[RangeLine]) -> Line:
    """Tokens by fate."""
    totals = {name: sum(one.tokens for one in ranges if one.kind == name) for name in LOOKS}
    shown: Line = []
    for name, tokens in totals.items():
        if tokens:
            kind = LOOKS[name]
            shown += (Segment(kind.pattern, kind.style), Segment(f" {name} {tokens:,}  ", ink.QUIET))
    return shown


def range_line(one: RangeLine) -> Line:
    kind = LOOKS[one.kind]
    why = "" if one.reason is None else one.reason.replace("_", " ")
    return words(
        (kind.pattern, kind.style),
        f" {one.start:>9,} … {one.start + one.tokens:<9,}",
        cell(f"{figures.short(one.tokens)}", 8, right=True),
        (f"  {kind.name}", kind.style),
        (f"  {why}", ink.QUIET),
    )
