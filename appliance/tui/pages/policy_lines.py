"""Below a policy: what was said of the edited text, else the versions that were active and what became of them."""

from __future__ import annotations

from appliance.api.policy_views import PolicyVersionView
from appliance.tui import figures, ink
from appliance.tui.line import Line, cell, clean, heading, words
from appliance.tui.widgets.drawing import Draw


def below(told: Draw | None, versions: tuple[PolicyVersionView, ...], width: int, height: int) -> list[Line]:
    if told is not None:
        return told(width, height)
    return [heading("versions", width, "predicted  realised"), *(_version(one, width) for one in versions)][:height]


def _version(one: PolicyVersionView, width: int) -> Line:
    predicted = None if one.predicted is None else one.predicted.hit_rate
    tail = f"{figures.share(predicted):>9}  {figures.share(one.hit_rate):>8}"
    note = f"  {one.note}" if one.note else ""
    back = "" if one.rolls_back_to is None else f" (back to {one.rolls_back_to})"
    said = f"{one.version:>3} {figures.clock(one.activated_at)}  {one.name}{back} by {one.author}{note}"
    return words(
        (cell(clean(said), max(width - len(tail) - 1, 0)), ink.STRONG if one.active else ink.PLAIN), " " + tail
    )


def diff_line(line: str) -> Line:
    style = ink.GOOD if line.startswith("+") else ink.BAD if line.startswith("-") else ink.PLAIN
    return words((clean(line), style))
