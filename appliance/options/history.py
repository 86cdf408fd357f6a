"""Arguments of `dynamo-box sessions` and `dynamo-box evictions`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    sessions = add_command(
        commands, "sessions", "sessions that the box remembers, also from before it was started again", [common]
    )
    sessions.add_argument("--watch", action="store_true", help="show them again every second; Ctrl-C ends it")
    evictions = add_command(
        commands, "evictions", "blocks that had to go: whose, for whom, by which rule, the newest first", [common]
    )
    evictions.add_argument("--session", metavar="NAME", help="only blocks of this session")
    for command, what in ((sessions, "used"), (evictions, "evicted")):
        command.add_argument("--since", metavar="TIME", help=f"only those {what} in the last TIME, as 90s, 10min, 2h")
        command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default 50)")
