"""`dynamo-box evictions`: the blocks that had to go, also before the box was started again."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final

from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.moments import age, since_query

UNKNOWN: Final = "—"
HEADINGS: Final = ("when", "worker", "whose", "token", "region", "idle", "worth", "rule", "for", "")


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    told = context.control.get(f"/box/v1/evictions/history?{since_query(options, session=options.session)}")
    if options.json:
        print(json.dumps(told, indent=2))
    elif told["evictions"]:
        print("\n".join(columns([HEADINGS, *map(_row, told["evictions"])])))
    else:
        print("no eviction is remembered")
    return 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        time.strftime("%m-%d %H:%M:%S", time.localtime(one["at"])),
        str(one["worker"]),
        one["owner"] or UNKNOWN,
        f"{one['first_token']:,}",
        one["region"] or UNKNOWN,
        age(one["age_seconds"]),
        str(one["priority"]),
        one["rule"] or UNKNOWN,
        one["cause_session"] or one["cause_request"] or UNKNOWN,
        "was awaited" if one["awaited"] else "",
    )
