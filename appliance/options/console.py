"""Arguments of `dynamo-box console` and `dynamo-box top`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command

SCREENS = (
    "overview",
    "sessions",
    "requests",
    "blocks",
    "prefixes",
    "policy",
    "events",
    "router",
    "engine",
    "history",
)


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    console = add_command(commands, "console", "look at a box and steer it, on ten screens", [common])
    _add_where(console)
    console.add_argument(
        "--read-only",
        action=argparse.BooleanOptionalAction,
        help="change nothing (default: when the box is on another machine)",
    )
    console.add_argument("--ascii", action="store_true", help="for terminals without Unicode")
    console.add_argument(
        "--theme", metavar="NAME", default="ansi-dark", help="default ansi-dark: the terminal's colours"
    )
    console.add_argument(
        "--key",
        metavar="ID=KEY",
        action="append",
        default=[],
        help="another key for a binding that ? lists; repeatable",
    )
    console.add_argument(
        "--serve",
        metavar="PORT",
        type=int,
        nargs="?",
        const=8001,
        help="in a browser of this machine (default port 8001)",
    )
    top = add_command(commands, "top", "one screen of the console as text or JSON", [common])
    top.add_argument(
        "screen", nargs="?", choices=SCREENS, default="overview", metavar="SCREEN", help=", ".join(SCREENS)
    )
    _add_where(top)
    top.add_argument("--plot", action="store_true", help="history's curves with axes")
    how = top.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="as it is now (default)")
    how.add_argument("--watch", action="store_true", help="again and again; with --json one document a line")


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attach", metavar="URL", help="a box by its URL (default: the one that runs here)")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=float, default=0.5, help="between two looks (default 0.5)"
    )
