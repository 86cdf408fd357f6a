"""What the parsers of all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 – argparse has no public name for it

APIS = ("chat", "messages", "responses")

PRECEDENCE = """\
settings, strongest first:
  1. options of this command            --port 9000, --set cache.gpu.bytes=4GiB
  2. environment variables              DYNAMO_BOX_CACHE__GPU__BYTES=4GiB
  3. the settings file                  --config FILE, $DYNAMO_BOX_CONFIG, else ~/.config/dynamo-box/config.toml
  4. defaults                           config/default.toml shows and explains every key
`dynamo-box config show` tells which of them set each value."""


def add_command(
    commands: Commands,
    name: str,
    text: str,
    parents: Sequence[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=PRECEDENCE if len(parents) > 1 else None,
        parents=list(parents),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(parser=parser)
    return parser


def common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON document instead of text")
    common.add_argument("--config", metavar="FILE", help="settings file")
    return common


def box_options() -> argparse.ArgumentParser:
    box = argparse.ArgumentParser(add_help=False)
    box.add_argument("--host", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    box.add_argument("--port", metavar="PORT", help="port to listen on, 0 for any free one (default 8000)")
    box.add_argument("--model", metavar="MODEL", help="demo, a folder, or a name on the hub (default demo)")
    box.add_argument("--workers", metavar="N", help="vLLM workers (default: one per GPU, two without a GPU)")
    box.add_argument("--max-model-len", metavar="TOKENS", help="longest prompt plus answer (default: the model's own)")
    box.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any other setting; may be repeated"
    )
    return box
