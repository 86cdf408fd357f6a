"""`dynamo-box hints`: an operator's word on sessions of the running box."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.who import who
from appliance.control import Control
from appliance.errors import BoxError, SettingsError
from appliance.units import parse_duration

ROUTE: Final = "/box/v1/hints"
PREFETCH_SECONDS: Final = 600.0
"""A prompt waits until its engine has nothing better to do."""
UNKNOWN: Final = "—"


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    actions = {"list": _list, "history": _history, "withdraw": _withdraw}
    return actions.get(options.action, _ask)(context.control, options)


def _list(control: Control, options: argparse.Namespace) -> int:
    told = control.get(ROUTE)
    rows = [
        (
            one["id"],
            one["verb"],
            one["session"],
            _what(one),
            _time(one["remaining_seconds"]),
            one["by"],
            (one.get("effect") or {}).get("text", UNKNOWN),
        )
        for one in told["hints"]
    ]
    heads = ("hint", "verb", "session", "what", "left", "by", "so far")
    _show(told, options, columns([heads, *rows]) if rows else ["no hint holds now"])
    return 0


def _history(control: Control, options: argparse.Namespace) -> int:
    told = control.get(f"/box/v1/actions?limit={options.limit}")
    rows = [
        (
            time.strftime("%m-%d %H:%M:%S", time.localtime(one["at"])),
            one["who"],
            one["verb"],
            one["target"] or "",
            one["effect"] or UNKNOWN,
        )
        for one in reversed(told["actions"])
    ]
    _show(told, options, columns([("when", "who", "what", "to", "effect"), *rows]) if rows else ["nothing yet"])
    return 0


def _withdraw(control: Control, options: argparse.Namespace) -> int:
    told = control.delete(f"{ROUTE}/{quote(options.hint, safe='')}?{urlencode({'by': who()})}")
    _show(told, options, [f"withdrawn: {told['hint']['verb']} {told['hint']['session']}", told["effect"]])
    return 0


def _ask(control: Control, options: argparse.Namespace) -> int:
    asked = {
        "verb": "turn_finished" if options.action == "finish" else options.action,
        "session": _session(control, options.session),
        "by": who(),
        "token_start": getattr(options, "start", None),
        "token_end": getattr(options, "end", None),
        "priority": getattr(options, "level", None),
        "ttl_seconds": _seconds("TIME", getattr(options, "ttl", None)),
        "expires_in": _seconds("--for", getattr(options, "time", None)),
        "worker": getattr(options, "worker", None),
    }
    body = {name: value for name, value in asked.items() if value is not None}
    told = control.post(f"{ROUTE}?dry_run={'true' if options.dry_run else 'false'}", body, PREFETCH_SECONDS)
    lines = [told["impact"]["text"], *filter(None, [told["effect"]])]
    if told["hint"] is not None:
        lines.append(f"for {_time(told['hint']['remaining_seconds'])}, as {told['hint']['id']}")
    _show(told, options, lines)
    return 0


def _session(control: Control, said: str) -> str:
    """The session that is called so, or else the only one whose name begins so; the box judges any other."""
    names = [one["session"] for one in control.get("/box/v1/cache/sessions?limit=2048")["sessions"]]
    if said in names:
        return said
    found = [name for name in names if name.startswith(said)]
    if len(found) > 1:
        raise BoxError(f"{len(found)} sessions begin with {said}: {', '.join(sorted(found)[:5])}")
    return found[0] if found else said


def _what(hint: dict[str, Any]) -> str:
    if hint["verb"] == "ttl":
        return f"{_time(hint['ttl_seconds'])} after each use"
    if hint["verb"] == "priority":
        return f"requests at {hint['priority']}"
    end = "the end" if hint["token_end"] is None else f"{hint['token_end']:,}"
    where = "all" if (hint["token_start"], hint["token_end"]) == (0, None) else f"{hint['token_start']:,} to {end}"
    return f"{where} at {hint['priority']}"


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from error


def _time(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show(document: Any, options: argparse.Namespace, lines: Sequence[str]) -> None:
    print(json.dumps(document, indent=2) if options.json else "\n".join(lines))
