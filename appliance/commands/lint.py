"""`dynamo-box lint`: what clients change from turn to turn, what that costs, and which rule is for it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from typing import Any

from appliance.commands.columns import wrapped
from appliance.commands.context import read_context
from appliance.errors import SettingsError
from appliance.units import parse_duration


def run(options: argparse.Namespace) -> int:
    try:
        seconds = max(1, math.ceil(parse_duration(options.last)))
    except ValueError as error:
        raise SettingsError(f"--last {error}") from None
    context = read_context(options)
    context.running()
    told = context.control.get(f"/box/v1/lint?last={seconds}")
    print(json.dumps(told, indent=2) if options.json else "\n".join(_lines(told, options.last)))
    return 0


def _lines(told: dict[str, Any], last: str) -> Iterator[str]:
    yield f"{told['requests']:,} requests in the last {last}"
    if not told["busters"]:
        yield "none of them had changed anything that could have been read from cache"
    for one in told["busters"]:
        yield ""
        yield from wrapped(_what(one))
        if one["before"] is not None and one["now"] is not None:
            yield from wrapped(f"then {one['before']!r}, now {one['now']!r}, in {one['last']}", "  ")
        yield from wrapped(one["advice"], "  → ")


def _what(one: dict[str, Any]) -> str:
    client = one["client"] or "a client without a name"
    label = f", behind {one['label']!r}" if one["label"] else ""
    place = f" in {one['place']}" if one["place"] else ""
    cost = f"{one['tokens']:,} tokens computed anew, some {one['seconds']:.1f} s"
    return f"{client}: something changed{place}{label} in {one['requests']:,} of {one['of']:,} requests; {cost}"
