"""`dynamo-box workers`: the engines of the running box, and starting one again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from appliance.api.views import BoxStatus, WorkerView
from appliance.cli import EXIT_ERROR
from appliance.commands.agreed import agreed
from appliance.commands.columns import columns
from appliance.commands.context import read_context
from appliance.commands.who import who
from appliance.control import Control

PATIENCE_SECONDS: Final = 30.0
UNKNOWN: Final = "—"
HEADS: Final = ("worker", "phase", "running", "waiting", "batch", "KV", "step", "preempted", "silent", "restarts")


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    return _list(context.control, options) if options.action == "list" else _restart(context.control, options)


def _list(control: Control, options: argparse.Namespace) -> int:
    workers = BoxStatus.told(control.get("/box/v1/status")).workers
    document = {"workers": [worker.model_dump() for worker in workers]}
    _show(document, options, columns([HEADS, *(_row(worker) for worker in workers)]))
    return 0


def _restart(control: Control, options: argparse.Namespace) -> int:
    def impact() -> str:
        return str(_asked(control, options.worker, dry_run=True)["impact"]["text"])

    if options.dry_run:
        told = _asked(control, options.worker, dry_run=True)
        _show(told, options, [told["impact"]["text"]])
        return 0
    if not agreed(options, f"restart worker {options.worker}?", impact):
        return EXIT_ERROR
    told = _asked(control, options.worker, dry_run=False)
    _show(told, options, [told["impact"]["text"], told["effect"]] if options.yes else [told["effect"]])
    return 0


def _asked(control: Control, worker: int, *, dry_run: bool) -> Any:
    query = urlencode({"dry_run": "true" if dry_run else "false", "by": who()})
    return control.post(f"/box/v1/workers/{worker}/restart?{query}", {}, PATIENCE_SECONDS)


def _row(worker: WorkerView) -> tuple[str, ...]:
    steps, watchdog = worker.steps, worker.watchdog
    return (
        str(worker.id),
        worker.phase,
        str(worker.running_requests),
        UNKNOWN if steps is None else f"{steps.waiting:,}",
        UNKNOWN if steps is None else f"{steps.batch_prefill_tokens + steps.batch_decode_tokens:,}",
        UNKNOWN if worker.kv_usage is None else f"{worker.kv_usage:.0%}",
        UNKNOWN if steps is None or steps.step_p50_ms is None else f"{steps.step_p50_ms:.0f} ms",
        UNKNOWN if steps is None else f"{steps.preemptions:,}",
        UNKNOWN if watchdog is None or watchdog.silent_seconds is None else f"{watchdog.silent_seconds:.1f} s",
        str(worker.restarts),
    )


def _show(document: Any, options: argparse.Namespace, lines: Sequence[str]) -> None:
    print(json.dumps(document, indent=2) if options.json else "\n".join(lines))
