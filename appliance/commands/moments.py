"""Times, as people say them."""

from __future__ import annotations

import argparse
import time
from urllib.parse import urlencode

from appliance.errors import SettingsError
from appliance.units import parse_duration


def since_query(options: argparse.Namespace, **more: str | None) -> str:
    """The query for `--since` and `--limit`, and for what `more` has. Raises `SettingsError`."""
    asked: dict[str, str | float | None] = {"limit": options.limit, **more}
    if options.since is not None:
        try:
            asked["since"] = round(max(time.time() - parse_duration(options.since), 0.0), 3)
        except ValueError as error:
            raise SettingsError(f"--since {options.since}: {error}") from error
    return urlencode({name: value for name, value in asked.items() if value is not None})


def ago(seconds: float) -> str:
    """`12 s ago`; `now` also for what a clock that was set back says is still to come."""
    return "now" if seconds < 1 else f"{age(seconds)} ago"


def age(seconds: float) -> str:
    """In the largest unit of which there are two at least: `90 s`, `3 min`, `47 h`, `3 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.3g} s"
