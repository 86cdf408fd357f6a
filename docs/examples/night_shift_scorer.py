"""A scorer of one's own: worker 1 shares its GPU with a desktop, so by day it gets only what it already holds most of.

A package with this module makes it known in its `pyproject.toml`:

    [project.entry-points."dynamo_box.scorers"]
    night_shift = "night_shift_scorer:NightShift"

and the box uses it with `router.scorer = "night_shift"`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from appliance.router.scoring import Cost, Prospect, expected_cost

DESKTOP_WORKER = 1
DISTURBANCE_SECONDS = 2.0


class NightShift:
    """The box's own cost, and by day two seconds more on the desktop's GPU for what would have to be computed there."""

    def __init__(self, clock: Callable[[], time.struct_time] = time.localtime) -> None:
        self._clock = clock

    def __call__(self, prospect: Prospect) -> Cost:
        cost = expected_cost(prospect)
        is_day = 8 <= self._clock().tm_hour < 20
        if prospect.worker != DESKTOP_WORKER or not is_day:
            return cost
        missing_share = prospect.missing_blocks / max(1, prospect.prompt_blocks)
        return cost._replace(other_seconds=DISTURBANCE_SECONDS * missing_share)
