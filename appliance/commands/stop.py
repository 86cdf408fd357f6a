"""`dynamo-box stop`: ask the box to drain, and wait until it has ended."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time

from appliance.commands.context import read_context
from appliance.errors import BoxError
from appliance.runtime import Runtime

POLL_SECONDS = 0.1
# What the box itself needs after its requests have finished: engines end, sockets close.
GRACE_SECONDS = 30.0


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    box = context.running()
    limit = context.loaded.settings.server.drain_timeout
    began = time.monotonic()
    _signal(box.pid)
    if options.now:
        time.sleep(POLL_SECONDS)
        _signal(box.pid)
    _wait(context.runtime, (0 if options.now else limit) + GRACE_SECONDS, quiet=options.json)
    seconds = time.monotonic() - began
    print(
        json.dumps({"stopped": box.pid, "seconds": round(seconds, 3)})
        if options.json
        else f"stopped in {seconds:.1f} s"
    )
    return 0


def _signal(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _wait(runtime: Runtime, limit_seconds: float, *, quiet: bool) -> None:
    deadline, told = time.monotonic() + limit_seconds, time.monotonic()
    while runtime.held():
        now = time.monotonic()
        if now > deadline:
            raise BoxError(
                f"the box did not end within {limit_seconds:g} s", hint="`dynamo-box stop --now` hurries it."
            )
        if not quiet and now - told > 2:
            told = now
            print("waiting for running requests to finish …", file=sys.stderr)
        time.sleep(POLL_SECONDS)
