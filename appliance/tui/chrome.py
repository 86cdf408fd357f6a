"""The lines above and below every screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from appliance.tui import figures, ink
from appliance.tui.frame import Frame
from appliance.tui.line import Line, fit, width_of, words
from appliance.tui.pages.catalogue import PAGES


@dataclass(frozen=True, slots=True)
class Chrome:
    """What they tell."""

    frame: Frame
    page_key: str
    is_frozen: bool
    interval_seconds: float


def title_line(chrome: Chrome, width: int) -> Line:
    """Where one is, which box, its phase, and the time of what is shown."""
    page = f"{chrome.page_key} {PAGES[chrome.page_key].title}"
    right = words(*_moment(chrome))
    left = words((f" {page} ", ink.CURSOR), "  ", *_box(chrome.frame, is_wide=width >= 100))
    return [*fit(left, max(width - width_of(right) - 1, 0)), *words(" "), *right]


def _box(frame: Frame, *, is_wide: bool) -> list[str | tuple[str, Style]]:
    status = frame.status
    if status is None:
        return [("dynamo-box", ink.STRONG)]
    parts: list[str | tuple[str, Style]] = [
        (status.model.id, ink.STRONG),
        "  ",
        (status.phase, ink.of_phase(status.phase)),
        ("  " + status.endpoint, ink.QUIET),
    ]
    if is_wide:
        parts.append((f"  up {figures.seconds(status.uptime_seconds)}", ink.QUIET))
    return parts


def _moment(chrome: Chrome) -> list[str | tuple[str, Style]]:
    at = chrome.frame.said_at or chrome.frame.at
    if chrome.is_frozen:
        return [(" FROZEN ", ink.BANNER), f" {figures.clock(at)}"]
    if chrome.frame.past_of is not None:
        return [(" PAST ", ink.BANNER), *_recorded(chrome.frame), f" {figures.clock(at)}"]
    if chrome.frame.lost is not None:
        return [(" LOST ", ink.ALARM), f" {figures.clock(at)}"]
    return [(f"{chrome.interval_seconds:g} s", ink.QUIET), f" {figures.clock(at)}"]


def _recorded(frame: Frame) -> list[str | tuple[str, Style]]:
    """Of which second the list is that is shown."""
    return [(f" {feed} of {figures.clock(at)}, ", ink.WARN) for feed, at in frame.recorded_at.items()]


def footer_line(keys: Sequence[tuple[str, str, str]], width: int) -> Line:
    """Keys with what they do; a click does it too. Those that do not fit are left out."""
    line: Line = []
    for key, does, action in keys:
        meta = Style(meta={"@click": f"app.{action}"}) if action else Style()
        item = [Segment(key, ink.NAME + meta), Segment(f" {does}   ", ink.QUIET + meta)]
        if width_of(line) + width_of(item) - 3 <= width:
            line += item
    return fit(line, width)
