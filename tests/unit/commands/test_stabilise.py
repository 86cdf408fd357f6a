from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.cli import EXIT_ERROR, EXIT_USAGE, main
from appliance.commands.request_body import guess_api

BILLING = "x-anthropic-billing-header: cc_version=2.1.278.b1c; cc_entrypoint=cli; cch=a1b2c;"
CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": f"You code.\n{BILLING}\nToday's date: 2026-11-24\n"},
        {"role": "user", "content": "Fix the bug"},
    ],
    "tools": [{"type": "function", "function": {"name": name}} for name in ("read", "bash")],
}
MESSAGES = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": BILLING}, {"type": "text", "text": "You code."}],
    "messages": [{"role": "user", "content": "Fix the bug"}],
}
RESPONSES = {
    "model": "m",
    "instructions": "You code.\nToday's date: 2026-11-24\n",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the bug"}]}],
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "request.json"


def run(file: Path, body: object, *options: str) -> int:
    file.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return main(["stabilise", str(file), *options])


def test_a_diff_and_a_line_for_each_change(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, CHAT) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [f"--- {file} as sent", f"+++ {file} as rendered"]
    assert f"-{BILLING}" in shown
    assert "+<system-reminder>" in shown
    assert shown[-3:] == [
        f"attribution: removed 82 characters of messages[0].blocks[0]: {BILLING[:79]}…",
        "tool_order: sorted 10 characters of tools: bash, read",
        "dates: moved 25 characters of messages[0].blocks[0]: Today's date: 2026-11-24",
    ]


@pytest.mark.parametrize(("api", "body"), [("chat", CHAT), ("messages", MESSAGES), ("responses", RESPONSES)])
def test_all_protocols_are_read(api: str, body: object, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, body, "--json") == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["api"] == api
    assert shown["diff"]
    rule = "dates" if api == "responses" else "attribution"
    assert rule in [change["rule"] for change in shown["changes"]]


def test_a_request_that_is_stable_has_no_diff(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_the_box_settings_hold(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DYNAMO_BOX_STABILISER__ENABLED", "false")
    assert run(file, CHAT) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_a_request_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(CHAT).encode())))
    assert main(["stabilise", "-"]) == 0
    assert "--- - as sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{", "request.json: the body is not JSON: "),
        ("[" * 100_000, "nested too deeply"),
        ('{"model": "\\ud800"}', "the body is not JSON: "),
        ("[1]", "the body must be a JSON object, not list"),
        ('{"model": "m"}', "messages"),
        ('{"model": "m", "messages": 5}', "messages: 5 is not allowed"),
    ],
)
def test_a_bad_request_is_told(body: str, problem: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, body) == EXIT_ERROR
    assert problem in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stabilise", str(tmp_path / "nowhere.json")]) == EXIT_ERROR
    assert "nowhere.json: cannot be read: No such file or directory" in capsys.readouterr().err
    assert main(["stabilise", str(tmp_path)]) == EXIT_ERROR


def test_an_unknown_protocol_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["stabilise", "-", "--api", "message"])
    assert error.value.code == EXIT_USAGE
    assert "unknown --api message; did you mean messages?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "api"),
    [
        (CHAT, "chat"),
        (MESSAGES, "messages"),
        (RESPONSES, "responses"),
        ({"messages": [], "tools": [{"name": "a", "input_schema": {}}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages"),
        ({"input": "Hi"}, "responses"),
        ({"messages": [5, {"content": 5}], "tools": "x"}, "chat"),
        ({}, "chat"),
    ],
)
def test_the_protocol_is_seen_from_the_body(body: dict[str, Any], api: str) -> None:
    assert guess_api(body) == api
