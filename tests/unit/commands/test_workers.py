from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.cli import EXIT_ERROR, EXIT_USAGE
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place
from tests.unit.tui import example_box

IMPACT = {"requests": 1, "tokens": 64, "sessions": 2, "prefill_seconds": 0.5, "text": "1 request goes on"}
ANSWER: dict[str, Any] = {"worker": 1, "impact": IMPACT}
ROUTE = "POST /box/v1/workers/1/restart"


@pytest.fixture(autouse=True)
def tester(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "tester")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def two_workers(place: Place) -> Iterator[list[str]]:
    """What was done in the box."""
    done: list[str] = []

    def restart(_sent: Any) -> Any:
        done.append("restart 1")
        return ANSWER | {"dry_run": False, "effect": "worker 1 is restarted"}

    workers = [example_box.worker(0), example_box.worker(1, phase="failed", steps=None, watchdog=None, kv_usage=None)]
    answers = {
        "/box/v1/status": example_box.status(workers=workers).model_dump(),
        f"{ROUTE}?dry_run=true&by=tester": ANSWER | {"dry_run": True, "effect": None},
        f"{ROUTE}?dry_run=false&by=tester": restart,
    }
    with running_box(place.runtime, documents() | answers):
        yield done


def test_workers_are_listed_with_what_their_engines_tell(place: Place) -> None:
    with two_workers(place):
        lines = [line.split() for line in place.command("workers", "list").out.splitlines()]
        assert lines[0][:5] == ["worker", "phase", "running", "waiting", "batch"]
        assert lines[1] == ["0", "running", "3", "2", "2,051", "31%", "24", "ms", "6", "0.0", "s", "0"]
        assert lines[2] == ["1", "failed", "4", "—", "—", "—", "—", "—", "—", "0"]
        told = place.command("workers", "list", "--json").json["workers"]
        assert [(one["id"], (one["steps"] or {}).get("preemptions")) for one in told] == [(0, 6), (1, None)]


def test_a_dry_run_tells_what_it_comes_to_and_restarts_nothing(place: Place) -> None:
    with two_workers(place) as done:
        assert place.command("workers", "restart", "1", "--dry-run").out == "1 request goes on\n"
        assert place.command("workers", "restart", "1", "--dry-run", "--json").json["impact"] == IMPACT
        assert done == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_restarted(
    place: Place, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n") if options else io.StringIO("y\n"))
    with two_workers(place) as done:
        answer = place.command("workers", "restart", "1", *options)
        assert (answer.code, done) == (EXIT_USAGE, [])
        assert "--yes" in answer.err + answer.out


@pytest.mark.parametrize(("said", "is_done"), [("y", True), ("Yes", True), ("n", False), ("", False)])
def test_a_restart_is_asked_about_after_its_impact(
    place: Place, monkeypatch: pytest.MonkeyPatch, said: str, is_done: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{said}\n"))
    with two_workers(place) as done:
        answer = place.command("workers", "restart", "1")
        assert answer.out.startswith("1 request goes on\nrestart worker 1? [y/N] ")
        assert ("worker 1 is restarted" in answer.out, bool(done)) == (is_done, is_done)
        assert answer.code == (0 if is_done else EXIT_ERROR)


def test_with_yes_nobody_is_asked(place: Place) -> None:
    with two_workers(place) as done:
        assert place.command("workers", "restart", "1", "--yes").out == "1 request goes on\nworker 1 is restarted\n"
        assert done == ["restart 1"]
