"""`dynamo-box requests cancel`: end a request of the running box that is under way."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final
from urllib.parse import quote, urlencode

from appliance.cli import EXIT_ERROR
from appliance.commands.agreed import agreed
from appliance.commands.context import read_context
from appliance.commands.who import who
from appliance.control import Control

PATIENCE_SECONDS: Final = 30.0


def run(options: argparse.Namespace) -> int:
    """Says what it comes to and asks, where that was not agreed to beforehand."""
    context = read_context(options)
    context.running()

    def impact() -> str:
        return str(_cancel(context.control, options.id, dry_run=True)["impact"])

    if not options.dry_run and not agreed(options, f"cancel {options.id}?", impact):
        return EXIT_ERROR
    told = _cancel(context.control, options.id, dry_run=options.dry_run)
    print(json.dumps(told, indent=2) if options.json else told["effect"] or told["impact"])
    return 0


def _cancel(control: Control, request: str, *, dry_run: bool) -> Any:
    query = urlencode({"by": who()} | ({"dry_run": "true"} if dry_run else {}))
    return control.post(f"/box/v1/requests/{quote(request, safe='')}/cancel?{query}", None, PATIENCE_SECONDS)
