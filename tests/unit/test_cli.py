"""The command line: help for everything, suggestions for what is mistyped, and nothing heavy imported for either."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance import __version__, cli
from appliance.errors import BoxError, EngineStartError, NotRunning, SettingsError, StartError
from appliance.settings import KEYS, OPTION_NAMES, load_settings

HEAVY = {
    "vllm", "torch", "transformers", "pydantic", "pydantic_settings", "fastapi", "uvicorn", "uvloop", "zmq", "httpx",
    "rich", "textual", "sqlalchemy", "msgspec", "psutil", "asyncio",
}  # fmt: skip

HELP = """
import contextlib, io, json, sys
from appliance import cli
helps = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        cli.main([*words, "--help"])
    helps[" ".join(words)] = out.getvalue()
print(json.dumps({"helps": helps, "modules": sorted(sys.modules)}))
"""


def parsers(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every parser with the words that lead to it."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from parsers(sub, (*words, name))


PARSERS = dict(parsers(cli.build_parser()))
COMMANDS = [words for words, parser in PARSERS.items() if parser._subparsers is None]


@pytest.mark.parametrize("words", PARSERS, ids=" ".join)
def test_every_command_and_every_option_is_described(words: tuple[str, ...]) -> None:
    parser = PARSERS[words]
    assert parser.description
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert all(entry.help for entry in action._choices_actions)
        else:
            assert action.help, action.option_strings


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_module_and_takes_json_and_a_settings_file(words: tuple[str, ...]) -> None:
    assert (Path(cli.__file__).parent / "commands" / f"{words[0]}.py").is_file()
    assert {"--json", "--config"} <= set(cli._options_of(PARSERS[words]))


def test_help_imports_nothing_heavy_whatever_the_command() -> None:
    line = [sys.executable, "-c", HELP, json.dumps(list(PARSERS))]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in answer["modules"])
    assert not [name for name in answer["modules"] if name.startswith("appliance.commands")]
    for words, text in answer["helps"].items():
        assert text.startswith(f"usage: dynamo-box {words}".rstrip()), words


def test_the_help_names_every_command_the_sources_of_settings_and_the_exit_statuses() -> None:
    text = cli.build_parser().format_help()
    assert all(re.search(rf"^    {words[0]}\s", text, re.MULTILINE) for words in PARSERS if len(words) == 1)
    for word in ("--set", "DYNAMO_BOX_", "--config", "config/default.toml", "exit status"):
        assert word in text


def test_every_option_of_a_setting_is_in_the_help_of_those_who_start_a_box() -> None:
    for words in (("up",), ("serve",), ("doctor",), ("config", "show")):
        assert {*OPTION_NAMES.values(), "--set"} <= set(cli._options_of(PARSERS[words]))


def test_defaults_named_in_the_help_are_the_defaults() -> None:
    text = " ".join(PARSERS[("serve",)].format_help().split())
    settings = load_settings(environ={}).settings
    assert f"default {settings.server.host})" in text
    assert f"default {settings.server.port})" in text
    assert f"default {settings.model.name})" in text


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("stats", "unknown command stats; did you mean status?"),
        ("config showw", "unknown command showw; did you mean show?"),
        ("serve --prot 9000", "unknown argument --prot; did you mean --port?"),
        ("serve --prot=9000", "unknown argument --prot; did you mean --port?"),
        ("config show --workerz 2", "unknown argument --workerz; did you mean --workers?"),
        ("stop --noww", "unknown argument --noww; did you mean --now?"),
        ("--jsn", "unknown argument --jsn; did you mean --json?"),
        ("xyzzy", "unknown command xyzzy; there are up, serve, status"),
        ("status 7", "unknown argument 7; there are --json, --config"),
    ],
)
def test_what_is_unknown_gets_the_nearest_that_is_known(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(line.split())
    assert ending.value.code == cli.EXIT_USAGE
    assert meant in capsys.readouterr().err


def test_an_unknown_value_of_an_option_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli._Parser(prog="any")
    parser.add_argument("--colour", choices=["red", "green"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--colour", "gren"])
    assert "unknown --colour gren; did you mean green?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--port", "9000"], ["--json"]])
def test_without_a_command_it_is_up(arguments: list[str]) -> None:
    options = cli.parse(arguments)
    assert options.command == "up"
    assert options.command_arguments == arguments


def test_arguments_behind_the_command_are_kept_as_they_were() -> None:
    arguments = ["--set", "model.served_name=up", "--model", "up"]
    assert cli.parse(["up", *arguments]).command_arguments == arguments


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["--version"])
    assert ending.value.code == 0
    assert capsys.readouterr().out == f"dynamo-box {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BoxError("it went wrong"), cli.EXIT_ERROR),
        (StartError("it went wrong"), cli.EXIT_ERROR),
        (EngineStartError("it went wrong"), cli.EXIT_ERROR),
        (SettingsError("it went wrong"), cli.EXIT_USAGE),
        (NotRunning("it went wrong", hint="Do this."), cli.EXIT_NOT_RUNNING),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), cli.EXIT_ERROR),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_each_error_has_its_exit_status_and_no_traceback(
    error: BaseException, code: int, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_options: object) -> int:
        raise error

    monkeypatch.setattr(cli, "import_module", lambda _name: SimpleNamespace(run=run))
    monkeypatch.setattr(sys.stderr, "close", lambda: None)
    assert cli.main(["status", *(["--json"] if as_json else [])]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if not isinstance(error, BoxError):
        assert captured == ("", "")
    elif as_json:
        assert json.loads(captured.out) == {"error": {"message": "it went wrong", "hint": error.hint}}
        assert captured.err == ""
    else:
        assert captured.err == "dynamo-box: it went wrong\n" + (f"  {error.hint}\n" if error.hint else "")


def test_keys_with_an_option_are_keys() -> None:
    assert set(OPTION_NAMES) <= set(KEYS)
