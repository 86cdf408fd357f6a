"""`dynamo-box stabilise`: what the box would change in a request so that more of it is found in the cache."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict

from appliance.commands.context import read_context
from appliance.commands.request_body import decode, guess_api, read_body
from appliance.conversation import Conversation
from appliance.stabiliser.rule import Change
from appliance.stabiliser.rules import select_rules
from appliance.stabiliser.stabiliser import Stabiliser
from appliance.stabiliser.transcript import transcript


def run(options: argparse.Namespace) -> int:
    settings = read_context(options).loaded.settings
    body = read_body(options.file)
    api = options.api or guess_api(body)
    before = asyncio.run(decode(body, api))
    after, changes = Stabiliser(select_rules(settings.stabiliser.rules)).apply(before)
    diff = _diff(options.file, before, after)
    if options.json:
        print(json.dumps({"api": api, "changes": [asdict(change) for change in changes], "diff": diff}, indent=2))
    else:
        print("\n".join([*diff, *_summary(changes)]))
    return 0


def _diff(name: str, before: Conversation, after: Conversation) -> list[str]:
    return list(
        difflib.unified_diff(
            transcript(before), transcript(after), f"{name} as sent", f"{name} as rendered", lineterm=""
        )
    )


def _summary(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return ["nothing to change"]
    return [
        f"{change.rule}: {change.action} {change.characters} characters of {change.place}: {change.excerpt}"
        for change in changes
    ]
