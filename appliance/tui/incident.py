"""One second of the box and the minute around it, in one file: for who looks into it later, or elsewhere."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from appliance.tui.errands import Errands
from appliance.tui.link import Refused

AROUND_SECONDS: Final = 30.0
LISTED: Final = 1000
EXPLAINED: Final = 50


async def incident(errands: Errands, at: float) -> dict[str, Any]:
    """All that the box tells of it; `problems` says what could not be had, and why. Raises `LinkLost`."""
    since, until = at - AROUND_SECONDS, at + AROUND_SECONDS
    problems: dict[str, str] = {}

    async def told(part: str, route: str) -> Any:
        try:
            answer = await errands.send("GET", route, None)
        except Refused as error:
            problems[part] = error.message
            return None
        return _events(answer) if part == "events" else json.loads(answer)

    snapshot = await told("snapshot", f"/box/v1/snapshot?at={at:.3f}")
    span = f"since={since:.3f}&until={until:.3f}"
    evictions = await told("evictions", f"/box/v1/evictions/history?limit={LISTED}&{span}")
    if evictions is not None and len(evictions["evictions"]) == LISTED:
        problems["evictions"] = f"only the newest {LISTED:,} of that minute are listed"
    events = await told("events", "/box/v1/events?from=oldest&follow=false")
    if events and events[0]["number"] > 1 and events[0]["at"] > since:
        problems["events"] = f"those before {time.strftime('%H:%M:%S', time.localtime(events[0]['at']))} are forgotten"
    policies = await told("policy", "/box/v1/policy/history")
    listed = await told("requests", f"/box/v1/requests?limit={LISTED}&until={until:.3f}")
    requests = [
        one
        for one in (listed or {}).get("requests", [])
        if one["arrived_at"] <= until and one["arrived_at"] + one["total_seconds"] >= since
    ]
    if listed is not None and len(listed["requests"]) == LISTED and listed["requests"][-1]["arrived_at"] > since:
        problems["requests"] = f"only the newest {LISTED} are listed, and they do not go back so far"
    for one in requests[:EXPLAINED]:
        one["why"] = await told(f"why {one['id']}", f"/box/v1/requests/{quote(one['id'], safe='')}/why")
    if len(requests) > EXPLAINED:
        problems["why"] = f"only the newest {EXPLAINED} of {len(requests)} requests are explained"
    active = next((one for one in (policies or {}).get("versions", []) if one["activated_at"] <= at), None)
    if policies is not None and active is None:
        problems["policy"] = "no version that was active then is remembered"
    return {
        "at": at,
        "since": since,
        "until": until,
        "snapshot": snapshot,
        "policy": active,
        "requests": requests,
        "evictions": (evictions or {}).get("evictions", []),
        "events": [one for one in events or [] if since <= one["at"] <= until],
        "problems": problems,
    }


def write_new(folder: Path, found: dict[str, Any]) -> Path:
    """Named after its second; a file that is there already stays as it is. Raises `OSError`."""
    name = f"dynamo-box-incident-{time.strftime('%Y%m%d-%H%M%S', time.localtime(found['at']))}"
    text = json.dumps(found, indent=1)
    path, number = folder / f"{name}.json", 1
    while True:
        try:
            with path.open("x") as file:
                file.write(text)
        except FileExistsError:
            number += 1
            path = folder / f"{name}-{number}.json"
        else:
            return path


def _events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]
