"""The command line. Nothing heavy is imported here: `--help` must answer in 150 ms."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from appliance import __version__
from appliance.errors import BoxError, NotRunning, SettingsError, nearest

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3

APIS = ("chat", "messages", "responses")
SESSION_STATES = ("running", "tool_wait", "idle", "finished")
SESSION_ROLES = ("lead", "subagent")

TIERS = ("gpu", "host", "disk")

QUEUES = ("first-come", "least-missing", "in-turn")

TOP_OPTIONS = frozenset({"-h", "--help", "--version"})

PRECEDENCE = """\
settings, strongest first:
  1. options of this command            --port 9000, --set cache.gpu.bytes=4GiB
  2. environment variables              DYNAMO_BOX_CACHE__GPU__BYTES=4GiB
  3. the settings file                  --config FILE, $DYNAMO_BOX_CONFIG, else ~/.config/dynamo-box/config.toml
  4. defaults                           config/default.toml shows and explains every key
`dynamo-box config show` tells which of them set each value."""

EXAMPLES = """\
examples:
  dynamo-box                                      start a box here, or attach to the one that runs: `dynamo-box up`
  dynamo-box serve --model Qwen/Qwen3-8B --port 9000
  dynamo-box status --json
  dynamo-box stop                                 let running requests finish, then end
  dynamo-box doctor                               is this machine fit, and what to do if not

exit status: 0 done, 1 could not be done, 2 wrong usage or settings, 3 no box is running"""

WHATIF_EXAMPLES = """\
A trace is the box's own record, or one of kv-cache-tester, Mooncake, pi or mini-swe-agent, plain or .gz. The first half
of its requests fills the caches, the second half counts. Beside the policies stand lru, fifo, the optimum, which knows
the future, and unbounded, a cache without end; "LRU to optimum" is how far a policy gets from one to the other.

examples:
  dynamo-box whatif trace.jsonl                           the shipped policy at 16 and 64 GiB
  dynamo-box whatif sessions/ --policy chat --policy mine.toml --capacity 32GiB,96GiB --plot
  dynamo-box whatif sessions/ --slots 8 --queue in-turn   eight users who wait for their answers"""


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
    common, box = _common(), _box_options()
    _add(commands, "up", "start a box, or attach to the one that runs", [common, box])
    _add(commands, "serve", "run a box in this process, without a terminal", [common, box])
    _add(commands, "status", "what the running box does", [common])
    stop = _add(commands, "stop", "let running requests finish, then end the box", [common])
    stop.add_argument("--now", action="store_true", help="do not wait for running requests")
    _add(commands, "doctor", "check this machine and say what to do", [common, box])
    _add(commands, "models", "what is served here, and what could be", [common])
    _add_stabilise(commands, common)
    _add_policy(commands, common)
    _add_cache(commands, common)
    _add_whatif(commands, common)
    _add_config(commands, common, box)
    return parser


def _add_stabilise(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    stabilise = _add(commands, "stabilise", "what the box would change in a request, to find more in cache", [common])
    stabilise.add_argument("file", metavar="FILE", help="a request's body as JSON; - for standard input")
    stabilise.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")


def _add_policy(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    policy = _add(commands, "policy", "what the cache keeps, by which rules", [])
    actions = policy.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(actions, "list", "the policies that come with the box, and the active one", [common])
    validate = _add(actions, "validate", "check a policy; the exit status is 1 if it is wrong", [common])
    show = _add(actions, "show", "the rules of a policy with all that it includes, in order", [common])
    apply = _add(actions, "apply", "make a policy the active one of the running box, also for what is cached", [common])
    apply.add_argument("policy", metavar="FILE|NAME", help="a policy file or a shipped policy")
    explain = _add(actions, "explain", "each region of a request, the rule that matches, and what it gets", [common])
    for action in (validate, show, explain):
        action.add_argument(
            "policy", nargs="?", metavar="FILE|NAME", help="a policy file or a shipped policy (default: the active one)"
        )
    explain.epilog = "Needs no box and no tokenizer: sizes are in characters, and nvext.retention is left out."
    explain.add_argument(
        "--prompt", metavar="REQUEST", required=True, help="a request's body as JSON; - for standard input"
    )
    explain.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")
    explain.add_argument("--state", choices=SESSION_STATES, default="running", help="of its session (default running)")
    explain.add_argument("--role", choices=SESSION_ROLES, help="of its session (default: what the request says)")
    explain.add_argument("--client", metavar="AGENT", help="the user agent, which is not in a body")
    explain.add_argument("--keeps-thinking", choices=("yes", "no"), help="does the template keep earlier thoughts")
    explain.add_argument("--shared", choices=("yes", "no"), help="has another session the same system text and tools")


def _add_cache(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    cache = _add(commands, "cache", "what the cache of the running box holds, tier by tier", [])
    actions = cache.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(actions, "stats", "each tier: how many blocks there are, are used, and cannot go now", [common])
    ls = _add(actions, "ls", "each session: how much of it is in which tier, by who used a block last", [common])
    ls.add_argument("--limit", metavar="N", type=int, default=50, help="sessions, the one used last first (default 50)")
    _add(actions, "verify", "have every tier check all it holds; the exit status is 1 if one is wrong", [common])
    warm = _add(actions, "warm", "read a request's prompt into the cache before anybody asks for it", [common])
    warm.add_argument("file", metavar="FILE", help="a request's body as JSON; - for standard input")
    warm.add_argument("--api", choices=APIS, help="its protocol (default: the one it looks like)")
    flush = _add(actions, "flush", "drop what a tier holds and nobody is using", [common])
    flush.add_argument("tier", metavar="TIER", choices=TIERS, help=", ".join(TIERS))
    flush.add_argument("--worker", metavar="N", type=int, help="with gpu: of this worker only (default: of all)")


def _add_whatif(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    whatif = _add(commands, "whatif", "replay a recorded trace with other policies and capacities", [common])
    whatif.epilog = WHATIF_EXAMPLES
    whatif.add_argument("trace", metavar="TRACE", help="a recorded trace: a file, or a folder of sessions")
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
    whatif.add_argument("--plot", action="store_true", help="draw hit rates over capacities")


def _add_config(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
    box: argparse.ArgumentParser,
) -> None:
    config = _add(commands, "config", "show, check or describe the settings", [])
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(actions, "show", "every setting, its value, and what set it", [common, box])
    validate = _add(actions, "validate", "check a settings file without starting anything", [common])
    validate.add_argument("file", nargs="?", help="the file to check (default: the one a box would read)")
    _add(actions, "schema", "the JSON Schema of the settings file", [common])


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    parents: list[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=PRECEDENCE if len(parents) > 1 else None,
        parents=parents,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(parser=parser)
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON document instead of text")
    common.add_argument("--config", metavar="FILE", help="settings file")
    return common


def _box_options() -> argparse.ArgumentParser:
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
