"""Arguments of `dynamo-box events`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    events = add_command(commands, "events", "what happens in the running box, as it happens", [common])
    events.epilog = "With --json one JSON document a line. Ctrl-C ends it."
    events.add_argument("--all", action="store_true", help="begin with all that the box remembers")
    events.add_argument("--once", action="store_true", help="what the box remembers, and no more")
    events.add_argument(
        "--type", metavar="TYPE", action="append", default=[], help="only events of this type; may be repeated"
    )
