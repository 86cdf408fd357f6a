from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.unit.api.scripted import ACTIVE, BUSTER, REQUEST, WHY
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

LISTED = {"requests": [msgspec.to_builtins(REQUEST)], "active": [msgspec.to_builtins(ACTIVE)]}
TOLD = msgspec.to_builtins(WHY)


def test_requests_are_listed_with_what_was_read_and_why_the_rest_was_not(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/requests?limit=20": LISTED}):
        words = place.command("requests").out.splitlines()[1].split()
        assert words[1:8] == ["chatcmpl-t1", "s", "2", "0", "40", "16", "(40%)"]
        assert " ".join(words[8:]) == "0.20 s stop evicted 20, below block boundary 4"
        assert place.command("requests", "--json").json == LISTED


def test_those_under_way_are_listed_with_how_far_they_are(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/requests?limit=20": LISTED}):
        words = place.command("requests", "--active").out.splitlines()[1].split()
        assert words[1:8] == ["msg_t2", "s", "3", "1", "64", "48", "(75%)"]
        assert " ".join(words[8:]) == "1,200 decode 2.5 s messages"
        assert place.command("requests", "--active", "--json").json == {"active": LISTED["active"]}
        refused = place.command("requests", "--active", "--watch")
        assert (refused.code, "--active" in refused.err) == (2, True)


CANCEL = "POST /box/v1/requests/msg_t2/cancel?by=ann"
WEIGHED = {"impact": "ends an answer", "effect": None}
DONE = {"impact": "ends an answer", "effect": "cancelled by ann"}


@pytest.fixture
def cancelling(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was cancelled for good, in a terminal."""
    done: list[str] = []

    def cancelled(_sent: Any) -> Any:
        done.append("msg_t2")
        return DONE

    monkeypatch.setattr("appliance.commands.request_cancel.who", lambda: "ann")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = {CANCEL: cancelled, f"{CANCEL}&dry_run=true": WEIGHED}
    with running_box(place.runtime, documents() | answers):
        yield done


@pytest.mark.parametrize(("answer", "is_done"), [("y", True), ("yes", True), ("", False), ("n", False)])
def test_a_cancel_says_what_it_comes_to_and_asks(
    place: Place, cancelling: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, is_done: bool
) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    told = place.command("requests", "cancel", "msg_t2")
    assert (told.code, bool(cancelling)) == (0 if is_done else 1, is_done)
    assert told.out.splitlines() == ["ends an answer", *(["cancelled by ann"] if is_done else [])]


def test_a_cancel_that_was_agreed_to_asks_nobody(place: Place, cancelling: list[str]) -> None:
    assert place.command("requests", "cancel", "msg_t2", "--dry-run").out == "ends an answer\n"
    assert not cancelling
    assert place.command("requests", "cancel", "msg_t2", "--yes", "--json").json == DONE
    assert cancelling == ["msg_t2"]


def test_where_nobody_can_be_asked_a_cancel_needs_a_yes(
    place: Place, cancelling: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    told = place.command("requests", "cancel", "msg_t2")
    assert (told.code, "--yes does it at once" in told.err) == (2, True)
    assert not cancelling


def test_requests_of_one_session_are_asked_for_by_name(place: Place) -> None:
    asked = "/box/v1/requests?limit=3&session=a+b"
    with running_box(place.runtime, documents() | {asked: {"requests": []}}):
        assert len(place.command("requests", "--session", "a b", "--limit", "3").out.splitlines()) == 1


def test_a_watch_shows_each_request_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([None, None])

    def sleep(_seconds: float) -> None:
        if next(rounds, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("appliance.commands.requests.time.sleep", sleep)
    with running_box(place.runtime, documents() | {"/box/v1/requests?limit=20": LISTED}):
        answer = place.command("requests", "--watch")
    assert (answer.code, answer.out.count("chatcmpl-t1")) == (130, 1)


def test_why_says_what_was_asked_what_was_not_read_and_what_to_do(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/requests/last/why": TOLD}):
        assert place.command("why").out.splitlines() == [
            "chatcmpl-t1",
            "session s asked",
            "",
            "20 tokens, 16 to 36 (some 0.4 s)",
            "  for sub",
            "  → more memory",
        ]
        assert place.command("why", "--json").json == TOLD


def test_of_very_many_findings_the_small_ones_are_counted(place: Place) -> None:
    many = TOLD | {"findings": [{**TOLD["findings"][0], "tokens": 100 - number} for number in range(20)]}
    with running_box(place.runtime, documents() | {"/box/v1/requests/a%2Fb/why": many}):
        out = place.command("why", "a/b").out
    assert out.count("for sub") == 12
    assert f"8 smaller ranges with {sum(range(81, 89))} tokens" in out


def test_lint_says_who_changes_what_and_what_it_costs(place: Place) -> None:
    told = {"seconds": 1800.0, "requests": 3, "busters": [msgspec.to_builtins(BUSTER)]}
    with running_box(place.runtime, documents() | {"/box/v1/lint?last=1800": told}):
        assert place.command("lint", "--last", "30min").out.splitlines() == [
            "3 requests in the last 30min",
            "",
            "claude-cli/2: something changed in system in 2 of 3 requests; 8,000 tokens computed anew, some 4.5 s",
            "  then 'cch=1', now 'cch=2', in chatcmpl-t1",
            "  → turn it on",
        ]
        assert place.command("lint", "--last", "30min", "--json").json == told


def test_lint_says_when_there_is_nothing(place: Place) -> None:
    told = {"seconds": 3600.0, "requests": 0, "busters": []}
    with running_box(place.runtime, documents() | {"/box/v1/lint?last=3600": told}):
        assert "none of them" in place.command("lint").out


def test_a_time_that_is_none_is_refused_by_name(place: Place) -> None:
    answer = place.command("lint", "--last", "soon")
    assert (answer.code, "--last 'soon' is not" in answer.err) == (2, True)
