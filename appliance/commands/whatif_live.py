"""`dynamo-box whatif --last TIME`: the running box's own record, replayed with another policy."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from appliance.api.whatif_views import WhatIfJob
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.policy_change import absolute, percent
from appliance.commands.who import who
from appliance.control import CHANGE_SECONDS, Control
from appliance.errors import BoxError, SettingsError
from appliance.units import parse_duration
from appliance.whatif_plot import whatif_plot

ROUTE: Final = "/box/v1/whatif"
POLL_SECONDS: Final = 0.3
SHOWN_SESSIONS: Final = 10
PLOT_SIZE: Final = (100, 20)
UNKNOWN: Final = "—"
ENDED: Final = ("done", "failed", "cancelled")


def run_live(options: argparse.Namespace, show: Callable[[float], None], clear: Callable[[], None]) -> int:
    """`show` is told of the progress, 0 … 1."""
    if options.policy is None or len(options.policy) != 1:
        raise SettingsError("--last: the record is replayed with one policy; name it with --policy")
    context = read_context(options)
    context.running()
    asked = {"policy": absolute(options.policy[0]), "last": _seconds(options.last), "by": who()}
    job = _awaited(context.control, context.control.post(ROUTE, asked, CHANGE_SECONDS), show)
    clear()
    if job["state"] != "done":
        raise BoxError(f"the replay {job['state']}" + (f": {job['error']}" if job["error"] else ""))
    if options.json:
        print(json.dumps(job, indent=2))
        return 0
    if options.plot:
        size = shutil.get_terminal_size(PLOT_SIZE)
        drawn = msgspec.convert(job, WhatIfJob)
        print(
            "\n".join(whatif_plot(drawn, size.columns, min(size.lines, PLOT_SIZE[1]), is_coloured=sys.stdout.isatty()))
        )
    print("\n".join(_lines(job)))
    return 0


def _awaited(control: Control, job: dict[str, Any], show: Callable[[float], None]) -> dict[str, Any]:
    """Whoever does not wait for the end does not want it."""
    route = f"{ROUTE}/{job['id']}"
    try:
        while job["state"] not in ENDED:
            show(job["progress"])
            time.sleep(POLL_SECONDS)
            job = control.get(route)
    except KeyboardInterrupt:
        control.delete(route)
        raise
    return job


def _lines(job: dict[str, Any]) -> list[str]:
    measured, outcomes = job["measured"], job["outcomes"]
    head = (
        f"{measured['requests']:,} requests of the last {measured['seconds']:,.0f} s, after "
        f"{measured['warm_up_requests']:,} that filled the caches; the box itself read {percent(measured['hit_rate'])}"
    )
    rows = [
        (
            one["role"],
            one["name"],
            percent(one["hit_rate"]),
            f"{one['prefill_seconds']:,.1f} s",
            UNKNOWN if one["evicted_blocks"] is None else f"{one['evicted_blocks']:,}",
        )
        for one in outcomes
    ]
    table = columns([("", "policy", "hit", "prefill", "evicted blocks"), *rows])
    return [head, "", *table, "", *_sessions(*outcomes[:2])]


def _sessions(proposed: dict[str, Any], active: dict[str, Any]) -> list[str]:
    """Those for which it makes the greatest difference."""
    before = {one["session"]: one["prefill_seconds"] for one in active["sessions"]}
    pairs = [
        (one["session"], one["requests"], before[one["session"]], one["prefill_seconds"])
        for one in proposed["sessions"]
        if one["session"] in before
    ]
    changed = sorted((each for each in pairs if each[2] != each[3]), key=lambda each: -abs(each[3] - each[2]))
    if not changed:
        return ["no session computes more or less"]
    rows = [
        (session, f"{requests:,}", f"{was:,.1f} s", f"{now:,.1f} s", f"{now - was:+,.1f} s")
        for session, requests, was, now in changed[:SHOWN_SESSIONS]
    ]
    return columns([("prefill of session", "requests", "active", "proposed", ""), *rows])


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--last: {error}") from error
