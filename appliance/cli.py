"""The command line. Nothing heavy is imported here: `--help` must answer in 150 ms."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from appliance import __version__
from appliance.errors import BoxError, NotRunning, SettingsError, nearest
from appliance.options import (
    backup,
    cache,
    config,
    console,
    events,
    hints,
    history,
    policy,
    requests,
    stabilise,
    whatif,
    workers,
)
from appliance.options.shared import PRECEDENCE, add_command, box_options, common_options

NOUNS = (
    console,
    stabilise,
    policy,
    hints,
    cache,
    requests,
    history,
    events,
    whatif,
    workers,
    backup,
)

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3

TOP_OPTIONS = frozenset({"-h", "--help", "--version"})

EXAMPLES = """\
examples:
  dynamo-box                                      start a box here, or attach to the one that runs: `dynamo-box up`
  dynamo-box serve --model Qwen/Qwen3-8B --port 9000
  dynamo-box status --json
  dynamo-box console                              look at the box that runs, and steer it
  dynamo-box stop                                 let running requests finish, then end
  dynamo-box doctor                               is this machine fit, and what to do if not

exit status: 0 done, 1 could not be done, 2 wrong usage or settings, 3 no box is running"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. `up` is the command when none is named."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        command = import_module(f"appliance.commands.{options.command}")
        return int(command.run(options))
    except BoxError as error:
        _tell(error, as_json=options.json)
        return _status_of(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has enough; Python would complain again when it flushes at exit.
        sys.stderr.close()
        return EXIT_ERROR


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Exits with status 2, naming what was probably meant, when the arguments are wrong.

    `command_arguments` of the result are those after the command.
    """
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in TOP_OPTIONS):
        arguments = ["up", *arguments]
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:
        parser: argparse.ArgumentParser = options.parser
        parser.error(_unknown("argument", unknown[0].partition("=")[0], _options_of(parser)))
    options.command_arguments = list(arguments[1:])
    return options


class _Parser(argparse.ArgumentParser):
    """Names the nearest command, or value of an option, when one is unknown."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            is_command = isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 – argparse tells by nothing else
            what = action.option_strings[-1] if action.option_strings else "command" if is_command else action.dest
            raise argparse.ArgumentError(None, _unknown(what, str(value), action.choices))


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    known = list(known)
    meant = nearest(word, known)
    return f"unknown {what} {word}; " + (f"did you mean {meant}?" if meant else f"there are {', '.join(known)}")


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    return re.findall(r"--[a-z-]+", parser.format_usage())


def build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="dynamo-box",
        description="vLLM workers, a KV-aware router and a tiered cache for coding agents, in one process tree.",
        epilog=f"{EXAMPLES}\n\n{PRECEDENCE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dynamo-box {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common, box = common_options(), box_options()
    add_command(commands, "up", "start a box, or attach to the one that runs", [common, box])
    add_command(commands, "serve", "run a box in this process, without a terminal", [common, box])
    add_command(commands, "status", "what the running box does", [common])
    stop = add_command(commands, "stop", "let running requests finish, then end the box", [common])
    stop.add_argument("--now", action="store_true", help="do not wait for running requests")
    add_command(commands, "doctor", "check this machine and say what to do", [common, box])
    add_command(commands, "models", "what is served here, and what could be", [common])
    for noun in NOUNS:
        noun.add(commands, common)
    config.add(commands, common, box)
    return parser


def _tell(error: BoxError, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"error": {"message": error.message, "hint": error.hint}}))
        return
    print(f"dynamo-box: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _status_of(error: BoxError) -> int:
    if isinstance(error, SettingsError):
        return EXIT_USAGE
    return EXIT_NOT_RUNNING if isinstance(error, NotRunning) else EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
