"""Arguments of `dynamo-box hints …`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command

EPILOG = """\
A pin or a release goes before all that clients and the policy say, for as long as it lasts. Each command says what it
comes to; with --dry-run it does no more. Times are as 90s, 10min, 2h.

examples:
  dynamo-box hints pin 3f2c --for 30min           nothing of this session is evicted while there is anything else
  dynamo-box hints release 3f2c --from 8192      from this token on its blocks go first
  dynamo-box hints prefetch 3f2c --worker 1      its last prompt is in that worker's cache before it comes back"""


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    hints = add_command(commands, "hints", "say what is to become of a session's cached blocks", [])
    hints.epilog = EPILOG
    actions = hints.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(actions, "list", "hints that hold now, and for how much longer", [common])
    history = add_command(actions, "history", "what operators did, the newest last", [common])
    history.add_argument("--limit", metavar="N", type=int, default=20, help="default 20")
    pin = add_command(actions, "pin", "keep a session's blocks", [common])
    release = add_command(actions, "release", "let a session's blocks go first", [common])
    ttl = add_command(actions, "ttl", "keep a session's blocks for a time after each use", [common])
    ttl.add_argument("ttl", metavar="TIME", help="after the last use, as 10min")
    priority = add_command(actions, "priority", "how important a session's requests are", [common])
    priority.add_argument("level", metavar="N", type=int, help="0 is ordinary, more is more important")
    prefetch = add_command(actions, "prefetch", "read a session's last prompt into a worker's cache", [common])
    prefetch.add_argument("--worker", metavar="N", type=int, help="default: the best one")
    warm = add_command(
        actions, "warm", "bring a session's last prompt up from disk or store to the host tier", [common]
    )
    finish = add_command(actions, "finish", "say that nothing more will come of a session", [common])
    withdraw = add_command(actions, "withdraw", "end a hint before its time is over", [common])
    withdraw.add_argument("hint", metavar="HINT", help="its id, as `list` shows it")
    for action in (pin, release):
        action.add_argument("--from", dest="start", metavar="TOKEN", type=int, help="first token (default 0)")
        action.add_argument("--to", dest="end", metavar="TOKEN", type=int, help="the token behind the last one")
    pin.add_argument("--level", metavar="N", type=int, help="priority, 0 to 100 (default 100)")
    for action in (pin, release, ttl, priority):
        action.add_argument("--for", dest="time", metavar="TIME", help="how long it holds (default 1h)")
    for action in (pin, release, ttl, priority, prefetch, warm, finish):
        action.add_argument("session", metavar="SESSION", help="its name, or the only one that begins so")
        action.add_argument("--dry-run", action="store_true", help="say what it would come to, and do nothing")
