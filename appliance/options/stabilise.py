"""Arguments of `dynamo-box stabilise`."""

from __future__ import annotations

import argparse

from appliance.options.shared import APIS, Commands, add_command


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    stabilise = add_command(
        commands, "stabilise", "what the box would change in a request, to find more in cache", [common]
    )
    stabilise.add_argument("file", metavar="FILE", help="a request's body as JSON; - for standard input")
    stabilise.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")
