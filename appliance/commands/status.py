"""`dynamo-box status`: what the running box does, once."""

from __future__ import annotations

import argparse

from appliance.api.views import BoxStatus
from appliance.commands.context import read_context


def run(options: argparse.Namespace) -> int:
    context = read_context(options)
    context.running()
    status = BoxStatus.told(context.control.get("/box/v1/status"))
    if options.json:
        print(status.model_dump_json(indent=2))
    else:
        from rich.console import Console

        from appliance.tui.status_view import render

        Console().print(render(status))
    return 0
