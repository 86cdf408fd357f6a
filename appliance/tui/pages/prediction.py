"""What a policy would have done with what the box has just served, beside the active one, LRU and the optimum."""

from __future__ import annotations

from typing import Final

from appliance.api.whatif_views import WhatIfJob, WhatIfMeasured, WhatIfOutcome
from appliance.tui import bars, figures, ink
from appliance.tui.line import Line, cell, clean, heading, width_of, words
from appliance.tui.plotted import plotted
from appliance.whatif_plot import ROLE_NAMES, whatif_plot

LEAST_PLOT: Final = 8
"""Lines."""


class Prediction:
    """Draws a replay. Its curves take milliseconds: they are drawn once for each size."""

    def __init__(self, job: WhatIfJob) -> None:
        self._job = job
        self._size = (0, 0)
        self._lines: list[Line] = []

    @property
    def has_curves(self) -> bool:
        return any(rate is not None for one in self._job.outcomes or [] for rate in one.hit_rates)

    def __call__(self, width: int, height: int) -> list[Line]:
        if self._size != (width, height):
            self._size = (width, height)
            lines = prediction_lines(self._job, width)
            room = height - len(lines)
            if self.has_curves and room >= LEAST_PLOT:
                lines += plotted(whatif_plot(self._job, width, room, is_coloured=True))
            self._lines = lines
        return self._lines


def prediction_lines(job: WhatIfJob, width: int) -> list[Line]:
    head = heading(f"replay of the last {figures.seconds(job.last)}", width, job.state)
    if job.state in ("waiting", "running"):
        bar = bars.stacked([bars.Part(job.progress, "█", ink.NAME)], max(width - 8, 1), 1.0)
        return [head, [*bar, *words(f" {figures.share(job.progress)}")], words(("esc gives it up", ink.QUIET))]
    if job.error is not None:
        return [head, words((clean(job.error), ink.BAD))]
    lines = [_outcome(one, width) for one in job.outcomes or []]
    return [head, *([] if job.measured is None else [_measured(job.measured)]), *lines, _caveat()]


def _measured(one: WhatIfMeasured) -> Line:
    counted = f"{figures.plural(one.requests, 'request')} count, {one.warm_up_requests:,} before fill the caches; "
    return words((counted + f"the box itself read {figures.share(one.hit_rate)} from all its tiers", ink.QUIET))


def _outcome(one: WhatIfOutcome, width: int) -> Line:
    style = ink.STRONG if one.role == "proposed" else ink.PLAIN
    line = words(
        (cell(ROLE_NAMES[one.role], 12), style),
        (cell(figures.share(one.hit_rate), 6, right=True), ink.of_share(one.hit_rate)),
        f"  {figures.seconds(one.prefill_seconds):>7} of prefill  {figures.short(one.evicted_blocks):>6} evicted  ",
    )
    hit, rest = bars.Part(one.hit_rate or 0.0, *bars.GPU[1:]), max(width - width_of(line), 0)
    return [*line, *bars.stacked([hit], rest, 1.0)]


def _caveat() -> Line:
    return words(
        ("of the GPUs alone, over what was asked then: other answers would have led to other prompts", ink.QUIET)
    )
