"""`console` and `top`: which box, and what they say when there is none or no terminal."""

from __future__ import annotations

import json
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.commands import console
from appliance.options.console import SCREENS
from appliance.runtime import Runtime
from appliance.tui import session
from appliance.tui.browser import BrowserConsole
from appliance.tui.ending import Ending
from appliance.tui.pages.catalogue import PAGES
from appliance.tui.stance import Stance
from appliance.tui.twins import TWINS
from tests.unit.commands.answering_box import running_box
from tests.unit.commands.conftest import Place
from tests.unit.tui import example_box
from tests.unit.tui.test_source import documents, web_box


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Stance, Any, float]]:
    """The consoles that were."""
    consoles: list[tuple[Any, Stance, Any, float]] = []

    def show(where: Any, stance: Stance, key: Any, interval: float) -> Ending:
        consoles.append((where, stance, key, interval))
        return Ending.LEAVE

    monkeypatch.setattr(session, "show_console", show)
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    return consoles


def test_the_console_shows_the_box_that_runs_here(
    place: Place, box: Runtime, shown: list[tuple[Any, Stance, Any, float]]
) -> None:
    assert place.command("console", "--ascii", "--interval", "2", "--key", "console.freeze=p").code == 0
    ((where, stance, key, interval),) = shown
    assert where == place.runtime / "control.sock"
    assert (stance.is_local, stance.is_read_only, stance.is_ascii, stance.can_stop) == (True, False, True, False)
    assert dict(stance.keys) == {"console.freeze": "p"}
    assert (key, interval) == (None, 2.0)


@pytest.mark.parametrize(
    ("arguments", "is_read_only"),
    [
        (["--attach", "http://10.1.1.1:8000"], True),
        (["--attach", "http://10.1.1.1:8000", "--no-read-only"], False),
        (["--attach", "http://127.0.0.1:8000"], False),
        (["--attach", "http://127.0.0.1:8000", "--read-only"], True),
    ],
)
def test_a_box_on_another_machine_is_only_looked_at_unless_told(
    place: Place, shown: list[tuple[Any, Stance, Any, float]], arguments: list[str], is_read_only: bool
) -> None:
    assert place.command("console", *arguments).code == 0
    assert shown[0][1].is_read_only is is_read_only


def test_an_attached_box_is_opened_with_the_key_of_the_settings(
    place: Place, shown: list[tuple[Any, Stance, Any, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMO_BOX_SERVER__API_KEYS", "first,second")
    place.command("console", "--attach", "http://127.0.0.1:8000")
    assert shown[0][2] == "first"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 3, "no box is running"),
        (["--attach", "box"], 2, "box: not the URL of a box"),
        (["--attach", "http://h:1", "--interval", "0"], 2, "--interval 0: must be from 0.1"),
        (["--attach", "http://h:1", "--theme", "ansi-darker"], 2, "did you mean ansi-dark?"),
        (["--attach", "http://h:1", "--theme", "zzz"], 2, "there are textual-dark"),
        (["--attach", "http://h:1", "--key", "freeze"], 2, "--key freeze: wants ID=KEY"),
        (["--attach", "http://h:1", "--key", "console.stops=p"], 2, "did you mean console.stop?"),
    ],
)
def test_what_is_wrong_is_said_before_the_screen_is_taken(
    place: Place, shown: list[tuple[Any, Stance, Any, float]], arguments: list[str], code: int, words: str
) -> None:
    answer = place.command("console", *arguments)
    assert answer.code == code
    assert words in answer.err
    assert shown == []


def test_without_a_terminal_the_console_names_what_needs_none(place: Place, box: Runtime) -> None:
    answer = place.command("console")
    assert answer.code == 1
    assert "dynamo-box top" in answer.err


class RecordedBox(dict[str, Any]):
    """It has recorded each second until now."""

    def __missing__(self, route: str) -> Any:
        at = float(route.removeprefix("/box/v1/snapshot?at="))
        return {"at": at // 1, "status": example_box.status(round(at - time.time())).model_dump()}


@pytest.mark.parametrize("screen", SCREENS)
def test_top_prints_every_screen_as_text_and_as_one_document(place: Place, screen: str) -> None:
    with running_box(place.runtime, RecordedBox(documents())):
        text = place.command("top", screen)
        assert text.code == 0, text.err
        assert len(text.out.splitlines()) > 2
        document = place.command("top", screen, "--json").json
    assert document["lost"] is None
    assert document["problems"] == {}
    assert document["data"]


def test_the_history_has_the_recorded_minutes_and_is_drawn_with_axes(place: Place) -> None:
    with running_box(place.runtime, RecordedBox(documents())):
        curves = place.command("top", "history", "--json").json["data"]
        drawn = place.command("top", "history", "--plot").out
    assert {len(one["at"]) for one in curves} == {len(one["values"]) for one in curves}
    assert curves[0]["at"][-1] - curves[0]["at"][0] > 800
    assert all(one["name"] in drawn for one in curves)
    assert "% of prompt tokens" in drawn
    assert "time" in drawn


def test_where_nothing_was_recorded_it_is_said_why(place: Place) -> None:
    class Forgetful(RecordedBox):
        def __missing__(self, route: str) -> Any:
            return {"at": 0.0, "status": {}}

    with running_box(place.runtime, Forgetful(documents())):
        answer = place.command("top", "history", "--plot")
    assert answer.code == 0
    assert "history cannot be shown: that second was recorded by another version" in answer.out


@pytest.mark.parametrize("words", [("overview", "--plot"), ("history", "--plot", "--json")])
def test_only_curves_are_drawn_and_not_into_a_document(place: Place, words: tuple[str, ...]) -> None:
    answer = place.command("top", *words)
    assert (answer.code, "only `top history` has curves" in answer.out + answer.err) == (2, True)


def test_every_screen_of_the_console_has_a_twin() -> None:
    assert [*SCREENS] == [page.title.lower() for page in PAGES.values()]
    assert {*SCREENS} == {*TWINS}


def test_top_asks_a_box_by_its_url(place: Place) -> None:
    with web_box() as (url, _):
        answer = place.command("top", "engine", "--attach", url, "--json")
    assert [one["id"] for one in answer.json["data"]] == [0, 1]


def test_top_says_when_nothing_answers(place: Place) -> None:
    answer = place.command("top", "--attach", "http://127.0.0.1:9", "--json")
    assert answer.code == 1
    assert "does not answer" in json.loads(answer.out)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "port", "left"),
    [
        (["--serve", "--ascii"], 8001, "--ascii"),
        (["--serve", "8377", "--read-only"], 8377, "--read-only"),
        (["--interval", "2", "--serve=8377"], 8377, "--interval 2"),
    ],
)
def test_a_browser_gets_the_same_command_without_the_server(
    place: Place, box: Runtime, monkeypatch: pytest.MonkeyPatch, arguments: list[str], port: int, left: str
) -> None:
    served: list[tuple[str, int, Any]] = []
    monkeypatch.setattr(socket, "create_server", lambda _address: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(BrowserConsole, "serve", lambda self: served.append((self.command, self.port, self._keys)))
    monkeypatch.setenv("DYNAMO_BOX_SERVER__API_KEYS", "first,second")
    answer = place.command("console", *arguments)
    assert answer.code == 0, answer.err
    assert f"http://127.0.0.1:{port}" in answer.out
    ((command, served_port, keys),) = served
    assert command.endswith(f"-m appliance.cli console {left}")
    assert (served_port, keys) == (port, ["first", "second"])


def test_a_port_that_is_taken_is_named(place: Place, box: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = place.command("console", "--serve", str(port))
    assert answer.code == 1
    assert f"--serve {port}: " in answer.err
    assert "in use" in answer.err
