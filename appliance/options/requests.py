"""Arguments of `dynamo-box requests`, `dynamo-box why` and `dynamo-box lint`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    requests = add_command(
        commands, "requests", "the requests that ended last, or those under way, and what was read from cache", [common]
    )
    requests.add_argument("--session", metavar="NAME", help="only those of this session")
    requests.add_argument("--limit", metavar="N", type=int, default=20, help="at most so many (default 20)")
    requests.add_argument("--active", action="store_true", help="those under way instead, and how far they are")
    requests.add_argument("--watch", action="store_true", help="go on with each that ends; Ctrl-C ends it")
    actions = requests.add_subparsers(dest="action", metavar="ACTION")
    cancel = add_command(actions, "cancel", "end a request that is under way; its client is told so", [common])
    cancel.add_argument("id", metavar="ID", help="the id of its answer, as --active shows it")
    cancel.add_argument("--yes", action="store_true", help="do not ask first")
    cancel.add_argument("--dry-run", action="store_true", help="say what it would come to, and do nothing")
    lint = add_command(commands, "lint", "what clients change from turn to turn, and what it costs", [common])
    lint.add_argument("--last", metavar="TIME", default="1h", help="how far to look back (default 1h)")
    why = add_command(commands, "why", "why the tokens of a request were not read from cache, and what to do", [common])
    why.add_argument("id", metavar="ID", nargs="?", default="last", help="the id of its answer (default: the last)")
