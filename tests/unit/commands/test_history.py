"""`dynamo-box sessions` and `dynamo-box evictions`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from appliance.cli import EXIT_NOT_RUNNING, EXIT_USAGE
from appliance.commands import sessions
from appliance.commands.moments import age, ago
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

NOW = 1_800_000_000.0
SESSION = {
    "session": "s1",
    "parent": "lead",
    "client": "claude-code",
    "model": "small",
    "state": "tool_wait",
    "is_live": True,
    "turns": 12,
    "first_seen_at": 1.0,
    "last_used_at": NOW - 600,
    "prompt_tokens": 20480,
}
UNKNOWN = SESSION | {"session": "s2", "is_live": False, "turns": None, "prompt_tokens": None, "client": None}
EVICTION = {
    "boot": 1.0,
    "number": 4,
    "at": 1_700_000_000.0,
    "worker": 1,
    "block_hash": "7",
    "first_token": 20480,
    "region": "user",
    "owner": "s1",
    "age_seconds": 400.0,
    "priority": 35,
    "rule": "coding-agent.toml:9",
    "awaited": True,
    "cause_session": "s2",
    "cause_request": "r2",
}


@contextmanager
def remembering(place: Place, **answers: Any) -> Iterator[None]:
    listed = answers.get("sessions", [SESSION, UNKNOWN])
    evicted = answers.get("evictions", [EVICTION])
    told = {
        "/box/v1/sessions?limit=50": {"sessions": listed},
        "/box/v1/evictions/history?limit=50": {"evictions": evicted},
        "/box/v1/evictions/history?limit=2&session=s+1&since=400.0": {"evictions": evicted},
    }
    with running_box(place.runtime, documents() | told):
        yield


def test_sessions_are_a_line_each(place: Place) -> None:
    with remembering(place), mock.patch("time.time", return_value=NOW):
        lines = place.command("sessions").out.splitlines()
        assert lines[1].split() == ["s1", "tool_wait", "12", "20,480", "10", "min", "ago", "claude-code", "of", "lead"]
        assert lines[2].split() == ["s2", "gone", "—", "—", "10", "min", "ago", "—", "of", "lead"]
        assert place.command("sessions", "--json").json["sessions"][0] == SESSION


def test_evictions_say_whose_and_for_whom(place: Place) -> None:
    with remembering(place):
        line = place.command("evictions").out.splitlines()[1]
        assert " ".join(line.split()[2:]) == "1 s1 20,480 user 7 min 35 coding-agent.toml:9 s2 was awaited"
        assert place.command("evictions", "--json").json["evictions"] == [EVICTION]


def test_what_is_asked_for_is_passed_on(place: Place) -> None:
    with remembering(place), mock.patch("time.time", return_value=1000.0):
        asked = ("evictions", "--session", "s 1", "--since", "10min", "--limit", "2", "--json")
        assert place.command(*asked).json["evictions"] == [EVICTION]


def test_nothing_is_said_in_words(place: Place) -> None:
    with remembering(place, sessions=[], evictions=[]):
        assert place.command("sessions").out == "no session is remembered\n"
        assert place.command("evictions").out == "no eviction is remembered\n"


def test_watching_shows_them_again_and_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([None, None])

    def sleep(_seconds: float) -> None:
        if next(rounds, 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "WATCH_SECONDS", 0)
    with remembering(place), mock.patch("time.sleep", sleep):
        answer = place.command("sessions", "--watch")
        assert answer.code == 130
        assert len(re.findall("^s1", answer.out, re.MULTILINE)) == 3


def test_a_time_that_is_none_is_refused(place: Place) -> None:
    with remembering(place):
        answer = place.command("evictions", "--since", "yesterday")
        assert answer.code == EXIT_USAGE
        assert "--since yesterday" in answer.err
    assert place.command("sessions").code == EXIT_NOT_RUNNING


def test_times_are_said_as_people_say_them() -> None:
    assert [ago(-5), ago(0.2), ago(5), ago(600)] == ["now", "now", "5 s ago", "10 min ago"]
    assert [age(90), age(3 * 3600), age(3 * 86400), age(0.25)] == ["90 s", "3 h", "3 d", "0.25 s"]
