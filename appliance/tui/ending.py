"""How a user leaves the console, and what is to become of the box."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    LEAVE = "leave"
    STOP = "stop"
    BOX_ENDED = "box ended"
