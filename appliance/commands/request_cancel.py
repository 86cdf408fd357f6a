"""`dynamo-box requests cancel`: end a request of the running box that is under way."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final
from urllib.parse import quote, urlencode

from appliance.commands.context import read_context
from appliance.commands.who import who
from appliance.control import Control
from appliance.errors import SettingsError

PATIENCE_SECONDS: Final = 30.0


def run(options: argparse.Namespace) -> int:
    """Says what it comes to and asks, where that was not agreed to beforehand."""
    context = read_context(options)
    context.running()
    is_agreed = options.yes or options.dry_run
    if not is_agreed and (options.json or not sys.stdin.isatty()):
        raise SettingsError("cancel: nobody can be asked here", hint="--yes ends it at once, --dry-run never does.")
    if not is_agreed:
        print(_cancel(context.control, options.id, dry_run=True)["impact"])
        if input("cancel it? [y/N] ").strip().lower() not in ("y", "yes"):
            return 1
    told = _cancel(context.control, options.id, dry_run=options.dry_run)
    print(json.dumps(told, indent=2) if options.json else told["effect"] or told["impact"])
    return 0


def _cancel(control: Control, request: str, *, dry_run: bool) -> Any:
    query = urlencode({"by": who()} | ({"dry_run": "true"} if dry_run else {}))
    return control.post(f"/box/v1/requests/{quote(request, safe='')}/cancel?{query}", None, PATIENCE_SECONDS)
