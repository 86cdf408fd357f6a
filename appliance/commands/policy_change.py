"""The retention policy of the running box: compared, changed, and changed back."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from appliance.cache.policy_source import load_policy, shipped_policies
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.who import who
from appliance.control import CHANGE_SECONDS, Control

ROUTE: Final = "/box/v1/policy"
UNKNOWN: Final = "—"


def apply(options: argparse.Namespace) -> int:
    """The file is read here first, so that what is wrong with it is told as `validate` tells it."""
    policy = load_policy(options.policy)
    active = _control(options).put(ROUTE, {"policy": absolute(options.policy)} | _signed(options))
    _show(active, options, [_is_active(active, policy.name)])
    return 0


def diff(options: argparse.Namespace) -> int:
    load_policy(options.policy)
    told = _control(options).post(f"{ROUTE}/diff", {"policy": absolute(options.policy)}, CHANGE_SECONDS)
    if not told["text"]:
        _show(told, options, [f"{told['name']} says the same as {told['active']}, which is active"])
        return 0
    rows = [
        (
            ", ".join(each["regions"]),
            f"{each['state']} {each['role']}",
            _share(each["shared"]),
            each["before"],
            each["after"],
        )
        for each in told["changes"]
    ]
    heads = ("region", "session", "", told["active"], told["name"])
    table = columns([heads, *rows]) if rows else ["no client, model or hint aside nothing gets anything else"]
    _show(told, options, [told["text"], "", *table])
    return 0


def history(options: argparse.Namespace) -> int:
    told = _control(options).get(f"{ROUTE}/history?limit={options.limit}")
    rows = [
        (
            f"{each['version']}{' *' if each['active'] else ''}",
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["activated_at"])),
            each["name"],
            each["author"],
            percent(each["hit_rate"]),
            UNKNOWN if each["predicted"] is None else percent(each["predicted"]["hit_rate"]),
            each["note"] or "",
        )
        for each in told["versions"]
    ]
    _show(told, options, columns([("version", "since", "policy", "by", "hit", "predicted", ""), *rows]))
    return 0


def roll_back(options: argparse.Namespace) -> int:
    asked = {} if options.version is None else {"version": options.version}
    active = _control(options).post(f"{ROUTE}/rollback", asked | _signed(options), CHANGE_SECONDS)
    _show(active, options, [_is_active(active, active["name"])])
    return 0


def rules(count: int) -> str:
    return f"{count} rule{'' if count == 1 else 's'}"


def _control(options: argparse.Namespace) -> Control:
    context = read_context(options)
    context.running()
    return context.control


def absolute(policy: str) -> str:
    """Whatever is no name is a path, and the box has another working folder."""
    return policy if policy in shipped_policies() else str(Path(policy).expanduser().resolve())


def _signed(options: argparse.Namespace) -> dict[str, str]:
    return {"author": who()} | ({} if options.note is None else {"note": options.note})


def _is_active(active: dict[str, Any], name: str) -> str:
    return f"active: {name}, version {active['version']}, {rules(len(active['rules']))}; until the box ends"


def _share(shared: bool | None) -> str:
    return "" if shared is None else "shared" if shared else "its own"


def percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def _show(document: Any, options: argparse.Namespace, lines: Sequence[str]) -> None:
    print(json.dumps(document, indent=2) if options.json else "\n".join(lines))
