from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import EXIT_ERROR, EXIT_NOT_RUNNING
from appliance.runtime import Runtime
from tests.unit.commands.answering_box import running_box
from tests.unit.commands.conftest import Place

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
MESSAGES = CHAT | {"system": "You code."}
RESPONSES = {"model": "m", "input": "Hi"}


@pytest.fixture
def file(place: Place) -> Path:
    path = place.home / "request.json"
    path.write_text(json.dumps(CHAT), encoding="utf-8")
    return path


def test_the_box_is_asked_and_its_answer_told(place: Place, box: Runtime, file: Path) -> None:
    answer = place.command("cache", "warm", str(file))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "1,200 tokens are in the cache of worker 1; 32 of them were before\n"


@pytest.mark.parametrize(("api", "body"), [("chat", CHAT), ("messages", MESSAGES), ("responses", RESPONSES)])
def test_the_protocol_is_the_one_it_looks_like(
    place: Place, box: Runtime, file: Path, api: str, body: dict[str, Any]
) -> None:
    file.write_text(json.dumps(body), encoding="utf-8")
    assert place.command("cache", "warm", str(file), "--json").json["sent"] == {"api": api, "request": body}


def test_a_protocol_that_is_named_is_believed(place: Place, box: Runtime, file: Path) -> None:
    assert place.command("cache", "warm", str(file), "--json", "--api", "messages").json["sent"]["api"] == "messages"


def test_a_refusal_is_told_in_the_words_of_the_box_with_the_file(place: Place, file: Path) -> None:
    refusal = {"error": {"message": "messages: 5 is not allowed"}}
    with running_box(place.runtime, {"POST /box/v1/warm": refusal}, code=400):
        answer = place.command("cache", "warm", str(file))
    assert answer.code == EXIT_ERROR
    assert answer.err == f"dynamo-box: {file}: messages: 5 is not allowed\n"


def test_a_file_without_a_request_is_told_before_any_box_is_asked(place: Place, file: Path) -> None:
    file.write_text("[1]", encoding="utf-8")
    answer = place.command("cache", "warm", str(file))
    assert answer.code == EXIT_ERROR
    assert "request.json: the body must be a JSON object, not list" in answer.err


def test_without_a_box_there_is_nothing_to_warm(place: Place, file: Path) -> None:
    answer = place.command("cache", "warm", str(file))
    assert answer.code == EXIT_NOT_RUNNING
    assert "no box is running" in answer.err
