"""`dynamo-box cache`: what the tiers of the running box hold, whether that is sound, filling and dropping it."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final

from appliance.cli import EXIT_ERROR
from appliance.commands import cache_map, cache_prefixes, cache_warm
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.control import Control

PROGRESS_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 3600.0
"""Engines answer between two steps, and of a disk every block is read."""


def run(options: argparse.Namespace) -> int:
    if options.action == "warm":
        return cache_warm.run(options)
    context = read_context(options)
    context.running()
    actions = {
        "stats": _stats,
        "ls": _ls,
        "map": cache_map.show_map,
        "prefixes": cache_prefixes.show_prefixes,
        "verify": _verify,
        "flush": _flush,
        "resize": _resize,
    }
    return actions[options.action](context.control, options)


def _stats(control: Control, options: argparse.Namespace) -> int:
    told = control.get("/box/v1/cache")
    tokens = told["block_tokens"]
    rows = [
        (
            _name(tier),
            _count(tier["blocks"]),
            _count(tier["used"]),
            _count(tier["held"]),
            "" if tier["blocks"] is None else _count(tier["blocks"] * tokens),
            "" if tier["bytes"] is None else f"{tier['bytes'] / 2**30:.1f} GiB",
        )
        for tier in told["tiers"]
    ]
    _show(told, options, columns([("tier", "blocks", "used", "held", "tokens", ""), *rows]))
    return 0


def _ls(control: Control, options: argparse.Namespace) -> int:
    told = control.get(f"/box/v1/cache/sessions?limit={options.limit}")
    rows = [
        (
            one["session"],
            one["state"],
            _count(one["prompt_tokens"]),
            " ".join(f"{worker}:{tokens:,}" for worker, tokens in one["gpu_tokens"].items()),
            _count(one["host_tokens"]),
            "" if one["parent"] is None else f"of {one['parent']}",
        )
        for one in told["sessions"]
    ]
    lines = columns([("session", "state", "prompt", "GPU, by worker", "host", ""), *rows])
    if len(rows) < told["total"]:
        lines.append(f"{told['total'] - len(rows)} more: --limit {told['total']}")
    _show(told, options, lines)
    return 0


def _verify(control: Control, options: argparse.Namespace) -> int:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(control.post, "/box/v1/cache/verify", {}, PATIENCE_SECONDS)
        while not wait([asked], PROGRESS_SECONDS).done:
            _progress(control)
        told = asked.result()
    _show(told, options, columns((_name(check), check["error"] or "sound") for check in told["checks"]))
    return 0 if told["sound"] else EXIT_ERROR


def _progress(control: Control) -> None:
    """Beside the answer: how far the check is, where it takes long."""
    for tier in control.get("/box/v1/cache")["tiers"]:
        if tier.get("checked") is not None:
            print(f"{_name(tier)}  {tier['checked']:,} of {tier['used']:,} blocks", file=sys.stderr)


def _flush(control: Control, options: argparse.Namespace) -> int:
    chosen = {"tier": options.tier, "worker": options.worker}
    told = control.post("/box/v1/cache/flush", chosen, PATIENCE_SECONDS)
    rows = [(_name(one), one["error"] or f"{one['blocks']:,} blocks dropped") for one in told["flushed"]]
    _show(told, options, columns(rows))
    return EXIT_ERROR if any(one["error"] for one in told["flushed"]) else 0


def _resize(control: Control, options: argparse.Namespace) -> int:
    told = control.post("/box/v1/cache/resize", {"tier": options.tier, "bytes": options.size}, PATIENCE_SECONDS)
    lines = [f"{told['tier']}  {told['blocks']:,} blocks, {told['bytes'] / 2**30:.2f} GiB"]
    _show(told, options, [*lines, *filter(None, [told["error"]])])
    return EXIT_ERROR if told["error"] else 0


def _show(told: Any, options: argparse.Namespace, lines: list[str]) -> None:
    print(json.dumps(told, indent=2) if options.json else "\n".join(lines))


def _name(tier: dict[str, Any]) -> str:
    return str(tier["tier"]) if tier["worker"] is None else f"{tier['tier']} of worker {tier['worker']}"


def _count(number: int | None) -> str:
    return "—" if number is None else f"{number:,}"
