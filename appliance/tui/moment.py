"""What a screen draws from: one frame, and what led to it."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.tui.frame import Frame
from appliance.tui.trail import Sample


@dataclass(frozen=True, slots=True)
class Moment:
    """Immutable. `samples` end with the frame, the oldest first."""

    frame: Frame
    samples: list[Sample]

    @property
    def step_seconds(self) -> float:
        """Of a curve: the past was recorded every second, and is drawn more coarsely."""
        return 2.0 if self.frame.past_of is None else 10.0
