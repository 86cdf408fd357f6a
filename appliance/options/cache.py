"""Arguments of `dynamo-box cache …`."""

from __future__ import annotations

import argparse

from appliance.options.shared import APIS, Commands, add_command

TIERS = ("gpu", "host", "disk")
RESIZABLE = ("host", "disk")


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    cache = add_command(commands, "cache", "what the cache of the running box holds, tier by tier", [])
    actions = cache.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(actions, "stats", "each tier: how many blocks there are, are used, and cannot go now", [common])
    ls = add_command(actions, "ls", "each session: how much of it is in which tier, by who used a block last", [common])
    ls.add_argument("--limit", metavar="N", type=int, default=50, help="sessions, the one used last first (default 50)")
    blocks = add_command(actions, "map", "a worker's cache, the host tier or the disk as a picture", [common])
    blocks.add_argument("--tier", choices=TIERS, default="gpu", help="default gpu")
    blocks.add_argument("--worker", metavar="N", type=int, help="with gpu: whose (default 0)")
    blocks.add_argument("--cells", metavar="N", type=int, default=512, help="at most so many (default 512)")
    prefixes = add_command(actions, "prefixes", "what sessions share, and where they go apart", [common])
    prefixes.add_argument("--limit", metavar="N", type=int, default=32, help="sessions, the newest first (default 32)")
    prefixes.add_argument("--text", metavar="N", type=int, default=60, help="characters of each prefix (default 60)")
    one = prefixes.add_mutually_exclusive_group()
    one.add_argument("--search", metavar="WORDS", help="where prompts have these words; case does not count")
    one.add_argument("--compare", nargs=2, metavar=("A", "B"), help="where the prompts of two sessions go apart")
    add_command(actions, "verify", "have every tier check all it holds; the exit status is 1 if one is wrong", [common])
    warm = add_command(actions, "warm", "read a request's prompt into the cache before anybody asks for it", [common])
    warm.add_argument("file", metavar="FILE", help="a request's body as JSON; - for standard input")
    warm.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")
    resize = add_command(actions, "resize", "make a tier of the running box larger or smaller, until it ends", [common])
    resize.add_argument("tier", metavar="TIER", choices=RESIZABLE, help=", ".join(RESIZABLE))
    resize.add_argument("size", metavar="SIZE", type=_size, help="such as 512MiB or 20GiB")
    flush = add_command(actions, "flush", "drop what a tier holds and nobody is using", [common])
    flush.add_argument("tier", metavar="TIER", choices=TIERS, help=", ".join(TIERS))
    flush.add_argument("--worker", metavar="N", type=int, help="with gpu: of this worker only (default: of all)")


def _size(text: str) -> int:
    from appliance.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
