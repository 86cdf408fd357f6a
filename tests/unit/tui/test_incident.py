"""An incident in one file: what it has, what it says it lacks, and that no file is overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.api.request_views import RequestView
from appliance.tui import figures
from appliance.tui.errands import Errands
from appliance.tui.incident import EXPLAINED, LISTED, incident, write_new
from appliance.tui.link import LinkLost, Refused
from tests.unit.tui import example_box
from tests.unit.tui.screens import console, universal_time

AT = example_box.NOW - 30


class RecordedBox(Errands):
    """Explains every request; by route where a test says something else."""

    def __init__(self, **other: Any) -> None:
        self._other = other

    async def send(self, method: str, route: str, body: Any) -> bytes:
        assert (method, body) == ("GET", None)
        part = route.partition("?")[0].removeprefix("/box/v1/")
        said = self._other.get(part.partition("/")[0], None)
        if isinstance(said, Exception):
            raise said
        if said is not None:
            return msgspec.json.encode(said)
        if part == "events":
            return b"".join(b"id: 1\ndata: " + msgspec.json.encode(one) + b"\n\n" for one in example_box.events())
        answers = {
            "snapshot": {"at": AT, "status": {}},
            "evictions/history": {"evictions": [{"number": 1}]},
            "policy/history": {"versions": example_box.versions()},
            "requests": {"requests": example_box.requests()},
        }
        return msgspec.json.encode(answers.get(part, example_box.why()))

    def close(self) -> None:
        pass


class ManyRequests(RecordedBox):
    def __init__(self, many: list[RequestView]) -> None:
        super().__init__()
        self._many = many

    async def send(self, method: str, route: str, body: Any) -> bytes:
        if route.startswith("/box/v1/requests?"):
            return msgspec.json.encode({"requests": self._many})
        return await super().send(method, route, body)


async def test_an_incident_has_the_second_and_the_minute_around_it() -> None:
    found = await incident(RecordedBox(), AT)
    assert found["problems"] == {}
    assert found["snapshot"]["at"] == AT
    assert found["policy"]["version"] == 3
    assert found["evictions"] == [{"number": 1}]
    inside = [one.id for one in example_box.requests() if AT - 30 - 4.1 <= one.arrived_at <= AT + 30]
    assert 0 < len(inside) < len(example_box.requests())
    assert [one["id"] for one in found["requests"]] == inside
    assert all(one["why"]["findings"] for one in found["requests"])
    assert found["events"]
    assert all(AT - 30 <= one["at"] <= AT + 30 for one in found["events"])


async def test_what_could_not_be_had_is_said_and_the_rest_is_there() -> None:
    found = await incident(RecordedBox(snapshot=Refused(404, "the box remembers no second")), AT)
    assert found["snapshot"] is None
    assert found["problems"] == {"snapshot": "the box remembers no second"}
    assert found["requests"]
    with pytest.raises(LinkLost):
        await incident(RecordedBox(policy=LinkLost("gone")), AT)


async def test_lists_that_do_not_go_back_so_far_or_are_cut_are_said_to() -> None:
    many = [msgspec.structs.replace(one, arrived_at=AT) for one in example_box.requests(LISTED)]
    found = await incident(RecordedBox(), AT - 10**6)
    assert found["problems"] == {"policy": "no version that was active then is remembered"}
    crowded = {"evictions": {"evictions": [{"number": number} for number in range(LISTED)]}}
    found = await incident(RecordedBox(**crowded), AT)
    assert found["problems"] == {"evictions": "only the newest 1,000 of that minute are listed"}
    box = ManyRequests(many)
    found = await incident(box, AT)
    assert [len(found["requests"]), sum("why" in one for one in found["requests"])] == [LISTED, EXPLAINED]
    assert "do not go back so far" in found["problems"].pop("requests")
    assert found["problems"] == {"why": f"only the newest {EXPLAINED} of {LISTED} requests are explained"}
    found = await incident(box, AT - 100)
    assert (found["requests"], list(found["problems"])) == ([], ["requests"])


class ForgetfulBox(RecordedBox):
    """It remembers its events from the 5th on."""

    async def send(self, method: str, route: str, body: Any) -> bytes:
        if route.startswith("/box/v1/events"):
            kept = example_box.events()[5:]
            return b"".join(b"id: 1\ndata: " + msgspec.json.encode(one) + b"\n\n" for one in kept)
        return await super().send(method, route, body)


async def test_events_that_the_box_has_forgotten_are_said_to_be() -> None:
    first = example_box.events()[5].at
    with universal_time():
        found = await incident(ForgetfulBox(), first)
        assert found["problems"] == {"events": f"those before {figures.clock(first)} are forgotten"}
    assert "events" not in (await incident(ForgetfulBox(), first + 31))["problems"]


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    first, second = (write_new(tmp_path, {"at": AT, "number": number}) for number in (1, 2))
    assert first != second
    assert [json.loads(path.read_text())["number"] for path in (first, second)] == [1, 2]


async def test_the_key_writes_the_second_that_is_shown_and_tells_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with console(errands=RecordedBox()) as (app, pilot):
        await pilot.press("0", "X")
        await app.workers.wait_for_complete()
        await pilot.pause()
        (path,) = tmp_path.iterdir()  # noqa: ASYNC240 – a folder of one file
        assert json.loads(path.read_text())["at"] == example_box.NOW
        assert [one.message for one in app._notifications] == [f"written: {path}"]
