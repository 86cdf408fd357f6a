from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from appliance.api.views import BoxStatus
from appliance.box import RunningBox
from appliance.commands import serve
from appliance.runtime import Runtime
from tests.unit.commands.answering_box import ENDPOINT
from tests.unit.commands.conftest import Place

pytestmark = pytest.mark.usefixtures("_own_logging")


class ShortSupervisor:
    """Comes up and ends at once."""

    def __init__(self, settings: Any, folders: Any, *, on_running: Callable[[RunningBox], None]) -> None:
        self._box = RunningBox(f"http://127.0.0.1:{settings.server.port}", "small", settings.model.name)
        self._on_running = on_running

    async def run(self) -> None:
        self._on_running(self._box)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "Supervisor", ShortSupervisor)


def test_json_is_the_status_on_one_line_once_requests_are_taken(place: Place) -> None:
    answer = place.command("serve", "--port", "9000", "--json")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1
    assert BoxStatus.model_validate(answer.json).endpoint == "http://127.0.0.1:9000"


def test_text_says_how_to_connect(place: Place) -> None:
    assert "dynamo-box is ready: http://127.0.0.1:8000/v1" in place.command("serve").out


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ([], False),
        (["--host", "::1"], False),
        (["--host", "::"], True),
        (["--host", "::", "--set", "server.api_keys=secret"], False),
    ],
)
def test_a_box_open_to_all_without_keys_is_warned_about(place: Place, arguments: list[str], warned: bool) -> None:
    answer = place.command("serve", *arguments)
    assert ("without server.api_keys" in answer.err) == warned
    assert "secret" not in answer.out + answer.err


def test_a_second_box_is_refused_with_pid_and_endpoint_of_the_first(
    place: Place, box: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DYNAMO_BOX_PATHS__RUNTIME", str(place.runtime))
    description = box.read()
    assert description is not None
    answer = place.command("serve", "--port", "0")
    assert (answer.code, answer.out) == (1, "")
    assert f"pid {description.pid}, {ENDPOINT}" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(("level", "vllm_level"), [("info", logging.ERROR), ("debug", logging.DEBUG)])
def test_engines_are_quiet_unless_everything_is_asked_for(level: str, vllm_level: int) -> None:
    serve.configure_logging(level)
    assert logging.getLogger().level == logging.getLevelName(level.upper())
    assert logging.getLogger("vllm").level == vllm_level
