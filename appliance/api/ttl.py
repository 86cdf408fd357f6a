"""How long a cache mark lives, as protocols write it: 90s, 5m, 1h."""

from __future__ import annotations

import re
from typing import Final

MAX_TTL_SECONDS: Final = 24 * 3600
TTL_RANGE: Final = "a time from 1s to 24h, such as 90s, 5m or 1h"

_TTL: Final = re.compile(r"([0-9]{1,6})([smh])")
_UNIT_SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


def ttl_seconds(text: str) -> float | None:
    """`None` for anything that is not a time in `TTL_RANGE`."""
    found = _TTL.fullmatch(text)
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0
    return float(seconds) if 1 <= seconds <= MAX_TTL_SECONDS else None


def ttl_text(seconds: float) -> str:
    """In the largest unit that tells it in whole numbers; parts of a second are cut off."""
    whole = int(seconds)
    unit = next(unit for unit, length in _UNIT_SECONDS.items() if whole % length == 0)
    return f"{whole // _UNIT_SECONDS[unit]}{unit}"
