"""`dynamo-box serve`: run a box in this process until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys

import uvloop

from appliance.box import RunningBox
from appliance.commands.banner import banner
from appliance.commands.context import Context, read_context
from appliance.supervisor import Supervisor


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    configure_logging(context.loaded.settings.log.level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(context, as_json=options.json))
    return 0


async def _serve(context: Context, *, as_json: bool) -> None:
    def on_running(box: RunningBox) -> None:
        print(json.dumps(box.status().model_dump()) if as_json else banner(box.status()), flush=True)

    settings = context.loaded.settings
    if settings.server.host not in ("127.0.0.1", "::1", "localhost") and not settings.server.api_keys:
        logging.getLogger("dynamo_box").warning(
            "listening on %s without server.api_keys: anyone who reaches this machine can use it", settings.server.host
        )
    await Supervisor(settings, context.folders, on_running=on_running).run()


def configure_logging(level: str) -> None:
    """All to stderr, one line each; standard output carries only what was asked for."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    for noisy, quiet in (
        ("vllm", logging.ERROR),
        ("transformers", logging.ERROR),
        ("uvicorn", logging.WARNING),
        ("alembic", logging.WARNING),
    ):
        logging.getLogger(noisy).setLevel(logging.DEBUG if level == "debug" else quiet)
