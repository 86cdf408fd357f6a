from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.control import Control
from appliance.endpoint import bind_unix
from appliance.errors import BoxError, NotRunning
from tests.unit.commands.answering_box import answering


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize("document", [{"phase": "running"}, [1, 2], None])
def test_the_document_is_what_the_box_answers(path: Path, document: Any) -> None:
    with answering(path, {"/box/v1/status": document}):
        assert Control(path).get("/box/v1/status") == document


def test_no_socket_is_no_running_box(path: Path) -> None:
    with pytest.raises(NotRunning, match=r"no box answers at .*control\.sock"):
        Control(path).get("/box/v1/status")


def test_a_socket_that_a_dead_box_left_is_no_running_box(path: Path) -> None:
    bind_unix(path).close()
    with pytest.raises(NotRunning):
        Control(path).get("/box/v1/status")


def test_a_box_that_hangs_up_is_no_running_box(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.control.TIMEOUT_SECONDS", 0.05)
    with bind_unix(path), pytest.raises(NotRunning):
        Control(path).get("/box/v1/status")


@pytest.mark.parametrize(
    ("document", "reason"),
    [({"error": {"message": "no such route"}}, "no such route"), ({"other": 1}, '{"other": 1}'), ([], "[]")],
)
def test_a_refusal_is_told_with_status_and_reason(path: Path, document: Any, reason: str) -> None:
    with answering(path, {"/v1/models": document}, code=404), pytest.raises(BoxError) as refusal:
        Control(path).get("/v1/models")
    assert f"/v1/models with status 404: {reason}" in str(refusal.value)
    assert not isinstance(refusal.value, NotRunning)


def test_an_answer_that_is_no_json_is_told(path: Path) -> None:
    with answering(path, {"/metrics": b"up 1\n"}), pytest.raises(BoxError, match="no JSON"):
        Control(path).get("/metrics")


def test_what_is_changed_is_sent_and_so_is_its_answer_told(path: Path) -> None:
    with answering(path, {"PUT /box/v1/policy": lambda sent: {"sent": sent}}):
        assert Control(path).put("/box/v1/policy", {"policy": "chat"}) == {"sent": {"policy": "chat"}}


def test_what_is_to_be_done_is_posted(path: Path) -> None:
    with answering(path, {"POST /x": lambda sent: [sent]}):
        assert Control(path).post("/x", {"a": 1}, 5.0) == [{"a": 1}]


def test_a_refused_change_is_told_in_the_words_of_the_box(path: Path) -> None:
    refusal = {"error": {"message": "mine.toml:1: no rule"}}
    with answering(path, {"PUT /box/v1/policy": refusal}, code=400), pytest.raises(BoxError) as refused:
        Control(path).put("/box/v1/policy", {"policy": "mine.toml"})
    assert str(refused.value) == "mine.toml:1: no rule"
