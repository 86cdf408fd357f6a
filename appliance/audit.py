"""What operators did: remembered for those who ask, and handed to the recorder."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from appliance.records import ActionRecord, NoRecorder, Recorder

MOST_REMEMBERED: Final = 1024


class Audit:
    """The newest `most` actions. `recorder` may be replaced by one that keeps them."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.recorder: Recorder = NoRecorder()
        self._actions: deque[ActionRecord] = deque(maxlen=most)

    def tell(self, action: ActionRecord) -> None:
        self._actions.append(action)
        self.recorder.record(action)

    def restore(self, actions: Sequence[ActionRecord]) -> None:
        """Of before the box was started again, the newest first: they are recorded already."""
        self._actions.extend(reversed(actions))

    def newest(self, most: int) -> list[ActionRecord]:
        """The newest comes first."""
        return list(islice(reversed(self._actions), most))
