"""Arguments of `dynamo-box whatif`."""

from __future__ import annotations

import argparse

from appliance.options.shared import Commands, add_command

QUEUES = ("first-come", "least-missing", "in-turn")

WHATIF_EXAMPLES = """\
A trace is the box's own record, or one of kv-cache-tester, Mooncake, pi or mini-swe-agent, plain or .gz. The first half
of its requests fills the caches, the second half counts. Beside the policies stand lru, fifo, the optimum, which knows
the future, and unbounded, a cache without end; "LRU to optimum" is how far a policy gets from one to the other.

examples:
  dynamo-box whatif --last 30min --policy mine.toml       what it would have done here, beside the active policy
  dynamo-box whatif trace.jsonl                           the shipped policy at 16 and 64 GiB
  dynamo-box whatif sessions/ --policy chat --policy mine.toml --capacity 32GiB,96GiB --plot
  dynamo-box whatif sessions/ --slots 8 --queue in-turn   eight users who wait for their answers"""


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    whatif = add_command(commands, "whatif", "replay a recorded trace with other policies and capacities", [common])
    whatif.epilog = WHATIF_EXAMPLES
    whatif.add_argument("trace", metavar="TRACE", nargs="?", help="a recorded trace: a file, or a folder of sessions")
    whatif.add_argument(
        "--last", metavar="TIME", help="instead of a trace the running box's own record: of so long, as 30min"
    )
    whatif.add_argument(
        "--policy",
        metavar="POLICY",
        action="append",
        help="name, file, or the bare orders `forecast` and `lru`; may be repeated (default: coding-agent, forecast)",
    )
    whatif.add_argument("--capacity", metavar="SIZES", default="16GiB,64GiB", help="default 16GiB,64GiB")
    whatif.add_argument(
        "--accounting", choices=("idle", "all"), default="idle", help="idle: for idle blocks only; all: for every block"
    )
    whatif.add_argument("--queue", choices=QUEUES, help="users wait for their answers, served in this order")
    whatif.add_argument("--slots", metavar="N", type=int, help="so many users play the sessions one after another")
    whatif.add_argument("--seed", metavar="N", type=int, default=0, help="for the order of their sessions (default 0)")
    whatif.add_argument("--kv-bytes-per-token", metavar="SIZE", default="128KiB", help="default 128KiB, as an 8B model")
    whatif.add_argument("--prefill-rate", metavar="N", type=float, default=25_000.0, help="tokens/s (default 25000)")
    whatif.add_argument("--no-hints", action="store_true", help="session ends and tool times are not believed")
    whatif.add_argument("--plot", action="store_true", help="draw hit rates over capacities, or with --last over time")
