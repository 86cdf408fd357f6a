"""Arguments of `dynamo-box workers …`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command

EPILOG = """\
A restart says what it comes to and asks; with --yes it does not ask, with --dry-run it does no more. It is not counted
among the restarts after which a worker is given up, and a worker that was given up is tried again.

examples:
  dynamo-box workers list --json
  dynamo-box workers restart 1 --dry-run"""


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    workers = add_command(commands, "workers", "what each engine does, and starting one again", [])
    workers.epilog = EPILOG
    actions = workers.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(actions, "list", "each worker's batch, steps, preemptions, watchdog", [common])
    restart = add_command(actions, "restart", "end a worker's engine and start another", [common])
    restart.add_argument("worker", metavar="N", type=int, help="its number, as `list` shows it")
    restart.add_argument("--dry-run", action="store_true", help="say what it would come to, and do nothing")
    restart.add_argument("--yes", action="store_true", help="do not ask")
