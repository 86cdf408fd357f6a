from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.cli import EXIT_ERROR, EXIT_NOT_RUNNING, EXIT_USAGE
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

HINT: dict[str, Any] = {
    "id": "hint-1",
    "verb": "pin",
    "session": "abc-1",
    "by": "me",
    "remaining_seconds": 1800.0,
    "token_start": 0,
    "token_end": None,
    "priority": 100,
    "ttl_seconds": None,
}
TTL = HINT | {"id": "hint-2", "verb": "ttl", "ttl_seconds": 300.0, "priority": None, "remaining_seconds": 90.0}
RANGE = HINT | {"id": "hint-3", "verb": "release", "token_start": 8192, "priority": 0}
CAME = {"effect": {"text": "41 tokens kept, no turn since"}}
ACTION = {"at": 5.0, "who": "me", "verb": "hint pin", "target": "abc-1", "details": {}, "effect": None}


@contextmanager
def steering(place: Place) -> Iterator[list[Any]]:
    """A box with two sessions; what was asked of it."""
    asked: list[Any] = []

    def ask(body: Any) -> Any:
        asked.append(body)
        return {"dry_run": False, "impact": {"text": "keeps 9 tokens"}, "hint": HINT, "effect": "planned"}

    sessions = [{"session": name} for name in ("abc-1", "abx-2")]
    answers = {
        "/box/v1/hints": {"hints": [HINT | CAME, TTL, RANGE]},
        "/box/v1/actions?limit=20": {"actions": [ACTION]},
        "/box/v1/cache/sessions?limit=2048": {"sessions": sessions, "total": 2},
        "POST /box/v1/hints?dry_run=false": ask,
        "POST /box/v1/hints?dry_run=true": lambda body: ask(body) | {"hint": None, "effect": None},
        "DELETE /box/v1/hints/hint-1?by=tester": {"hint": HINT, "effect": "planned without it"},
    }
    with running_box(place.runtime, documents() | answers):
        yield asked


def test_hints_are_listed_with_the_time_that_is_left(place: Place) -> None:
    with steering(place):
        lines = [line.split() for line in place.command("hints", "list").out.splitlines()]
        assert lines[1] == [
            "hint-1",
            "pin",
            "abc-1",
            "all",
            "at",
            "100",
            "30",
            "min",
            "me",
            *["41", "tokens", "kept,", "no", "turn", "since"],
        ]
        assert lines[2] == ["hint-2", "ttl", "abc-1", "5", "min", "after", "each", "use", "90", "s", "me", "—"]
        assert lines[3][3:8] == ["8,192", "to", "the", "end", "at"]
        assert place.command("hints", "list", "--json").json["hints"] == [HINT | CAME, TTL, RANGE]


def test_a_pin_tells_its_impact_its_effect_and_how_to_end_it(place: Place) -> None:
    with steering(place) as asked:
        answer = place.command("hints", "pin", "abc", "--for", "30min", "--to", "64")
        assert answer.out.splitlines() == ["keeps 9 tokens", "planned", "for 30 min, as hint-1"]
        body = asked[0]
        assert body.pop("by")
        assert body == {"verb": "pin", "session": "abc-1", "token_end": 64, "expires_in": 1800.0}


def test_a_dry_run_is_one(place: Place) -> None:
    with steering(place):
        assert place.command("hints", "finish", "abx-2", "--dry-run").out == "keeps 9 tokens\n"


def test_each_verb_sends_what_it_takes(place: Place) -> None:
    with steering(place) as asked:
        place.command("hints", "ttl", "5min", "abc-1")
        place.command("hints", "priority", "7", "abc-1")
        place.command("hints", "prefetch", "abc-1", "--worker", "1")
        place.command("hints", "finish", "abc-1")
        facts = [{key: body[key] for key in body.keys() - {"by", "session"}} for body in asked]
        assert facts == [
            {"verb": "ttl", "ttl_seconds": 300.0},
            {"verb": "priority", "priority": 7},
            {"verb": "prefetch", "worker": 1},
            {"verb": "turn_finished"},
        ]


def test_the_beginning_of_two_names_is_none(place: Place) -> None:
    with steering(place) as asked:
        answer = place.command("hints", "pin", "ab")
        assert (answer.code, asked) == (EXIT_ERROR, [])
        assert "2 sessions begin with ab: abc-1, abx-2" in answer.err


def test_a_time_that_is_none_is_refused(place: Place) -> None:
    with steering(place) as asked:
        assert place.command("hints", "pin", "abc-1", "--for", "soon").code == EXIT_USAGE
        assert asked == []


def test_a_hint_is_withdrawn_and_actions_are_shown(place: Place, monkeypatch: Any) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "tester")
    with steering(place):
        answer = place.command("hints", "withdraw", "hint-1")
        assert answer.out.splitlines() == ["withdrawn: pin abc-1", "planned without it"]
        assert place.command("hints", "history").out.splitlines()[1].split()[2:] == ["me", "hint", "pin", "abc-1", "—"]


def test_without_a_box_that_is_said(place: Place) -> None:
    assert place.command("hints", "list").code == EXIT_NOT_RUNNING
