"""`dynamo-box why`: what of a request was read from where, what was not, who is to blame, what to do about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from appliance.commands.columns import wrapped
from appliance.commands.context import read_context

MOST_FINDINGS: Final = 12
LEAST_SECONDS: Final = 0.1
"""What took less is not worth a word."""


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    told = context.control.get(f"/box/v1/requests/{quote(options.id, safe='')}/why")
    print(json.dumps(told, indent=2) if options.json else "\n".join(_answer(told)))
    return 0


def _answer(told: dict[str, Any]) -> Iterator[str]:
    """A paragraph for each finding, in the order of the prompt; of very many the small ones are left out."""
    yield told["request"]["id"]
    yield from wrapped(told["asked"])
    findings = told["findings"]
    shown = sorted(findings, key=lambda one: -one["tokens"])[:MOST_FINDINGS]
    for one in findings:
        if one in shown:
            yield ""
            yield from _finding(one)
    if len(findings) > len(shown):
        left = sum(one["tokens"] for one in findings) - sum(one["tokens"] for one in shown)
        yield f"\n{len(findings) - len(shown)} smaller ranges with {left:,} tokens are in --json"


def _finding(one: dict[str, Any]) -> Iterator[str]:
    took = one["seconds"]
    cost = "" if took is None or took < LEAST_SECONDS else f" (some {took:.1f} s)"
    count = f"{one['tokens']:,} token{'' if one['tokens'] == 1 else 's'}"
    where = f"{one['start']:,} to {one['start'] + one['tokens']:,}"
    yield f"{count}, {where}{cost}"
    yield from wrapped(one["text"], "  ")
    if one["advice"] is not None:
        yield from wrapped(one["advice"], "  → ")
