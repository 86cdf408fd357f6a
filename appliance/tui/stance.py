"""How a console stands to its box, and how it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stance:
    """How a console stands to its box. `can_stop`: the user started it from here, and may end it. `is_alive` tells
    whether a box that does not answer is there at all; without it there is no end to waiting. `keys`: other keys by the
    ids of bindings."""

    is_local: bool = True
    is_read_only: bool = False
    can_stop: bool = False
    is_alive: Callable[[], bool] | None = None
    is_ascii: bool = False
    theme: str = "ansi-dark"
    keys: Mapping[str, str] = field(default_factory=dict)
