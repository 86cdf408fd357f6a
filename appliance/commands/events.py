"""`dynamo-box events`: what happens in the running box, line by line."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final
from urllib.parse import urlencode

from appliance.commands.context import read_context

UNKNOWN: Final = "—"


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    query = {
        "from": "oldest" if options.all or options.once else "now",
        "follow": "false" if options.once else "true",
        "types": ",".join(options.type),
    }
    for event in context.control.events(f"/box/v1/events?{urlencode(query)}"):
        print(json.dumps(event) if options.json else _line(event), flush=True)
    return 0


def _line(told: dict[str, Any]) -> str:
    """Time, type, and what the event says, field by field."""
    at, event = told["at"], dict(told["event"])
    kind = event.pop("type")
    moment = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03}"
    return f"{moment}  {kind:<16}  {'  '.join(f'{name} {_text(value)}' for name, value in event.items())}".rstrip()


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, dict):
        return " ".join(f"{name}:{_text(each)}" for name, each in value.items()) or UNKNOWN
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
