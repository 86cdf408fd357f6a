"""`dynamo-box requests`: those that ended last, or those under way, a line each."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from appliance.commands import request_cancel
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.control import Control
from appliance.errors import SettingsError

UNKNOWN: Final = "—"
WATCH_SECONDS: Final = 1.0
HEADINGS: Final = (
    "time",
    "id",
    "session",
    "turn",
    "worker",
    "prompt",
    "cached",
    "first token",
    "",
    "computed, and why",
)
ACTIVE_HEADINGS: Final = (
    "since",
    "id",
    "session",
    "turn",
    "worker",
    "prompt",
    "cached",
    "generated",
    "phase",
    "for",
    "protocol",
)


def run(options: argparse.Namespace) -> int:
    if options.action == "cancel":
        return request_cancel.run(options)
    context = read_context(options)
    context.running()
    asked: dict[str, Any] = {"limit": options.limit} | ({} if options.session is None else {"session": options.session})
    if options.active and options.watch:
        raise SettingsError("--watch shows requests as they end: it does not go with --active")
    if options.watch:
        for one in _new(context.control, asked):
            print(json.dumps(one) if options.json else "  ".join(_row(one)), flush=True)
        return 0
    told = context.control.get(f"/box/v1/requests?{urlencode(asked)}")
    if options.active:
        told, rows = {"active": told["active"]}, [ACTIVE_HEADINGS, *map(_active_row, told["active"])]
    else:
        rows = [HEADINGS, *map(_row, told["requests"])]
    print(json.dumps(told, indent=2) if options.json else "\n".join(columns(rows)))
    return 0


def _new(control: Control, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that were there, then each that ends, the oldest first."""
    known: dict[str, None] = {}
    while True:
        newest = control.get(f"/box/v1/requests?{urlencode(asked)}")["requests"]
        yield from (one for one in reversed(newest) if one["id"] not in known)
        known = {one["id"]: None for one in newest}
        time.sleep(WATCH_SECONDS)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    first = one["first_token_seconds"]
    return (
        *_begun(one),
        UNKNOWN if first is None else f"{first:.2f} s",
        one["finish"] or one["outcome"],
        _reasons(one),
    )


def _active_row(one: dict[str, Any]) -> tuple[str, ...]:
    seconds = f"{one['total_seconds']:.1f} s"
    return (*_begun(one), f"{one['completion_tokens']:,}", one["phase"], seconds, one["protocol"] or "the box")


def _begun(one: dict[str, Any]) -> tuple[str, ...]:
    """What is known before a request has ended."""
    cached, prompt = one["cached_tokens"], one["prompt_tokens"]
    share = f" ({cached / prompt:.0%})" if cached is not None and prompt else ""
    return (
        time.strftime("%H:%M:%S", time.localtime(one["arrived_at"])),
        one["id"],
        one["session"] or UNKNOWN,
        _known(one["turn"]),
        _known(one["worker"]),
        f"{prompt:,}",
        UNKNOWN if cached is None else f"{cached:,}{share}",
    )


def _reasons(one: dict[str, Any]) -> str:
    """The most first."""
    tokens: Counter[str] = Counter()
    for piece in one["ranges"]:
        if piece["reason"] is not None:
            tokens[piece["reason"]] += piece["end"] - piece["start"]
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in tokens.most_common())


def _known(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)
