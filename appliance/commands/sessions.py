"""`dynamo-box sessions`: those that the box remembers, the one used last first."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.moments import ago, since_query
from appliance.control import Control

WATCH_SECONDS: Final = 1.0
UNKNOWN: Final = "—"
CLEAR: Final = "\x1b[H\x1b[2J"
HEADINGS: Final = ("session", "state", "turns", "prompt", "last used", "client", "")


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    route = f"/box/v1/sessions?{since_query(options)}"
    for told in _watched(context.control, route) if options.watch else [context.control.get(route)]:
        if options.json:
            print(json.dumps(told, indent=None if options.watch else 2), flush=True)
        else:
            clear = CLEAR if options.watch and sys.stdout.isatty() else ""
            print(clear + "\n".join(_lines(told)), flush=True)
    return 0


def _watched(control: Control, route: str) -> Iterator[Any]:
    while True:
        yield control.get(route)
        time.sleep(WATCH_SECONDS)


def _lines(told: dict[str, Any]) -> list[str]:
    if not told["sessions"]:
        return ["no session is remembered"]
    now = time.time()
    return columns([HEADINGS, *(_row(one, now) for one in told["sessions"])])


def _row(one: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        one["session"],
        # What it was when the box still knew it says little of what it is.
        (one["state"] or UNKNOWN) if one["is_live"] else "gone",
        _count(one["turns"]),
        _count(one["prompt_tokens"]),
        ago(now - one["last_used_at"]),
        one["client"] or UNKNOWN,
        "" if one["parent"] is None else f"of {one['parent']}",
    )


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"
