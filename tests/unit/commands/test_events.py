from __future__ import annotations

import json
import re
from typing import Any

from appliance.cli import EXIT_ERROR, EXIT_NOT_RUNNING
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

FINISHED: dict[str, Any] = {
    "number": 4,
    "at": 5.25,
    "event": {"type": "request_finished", "request": "r1", "worker": None},
}
EVICTED: dict[str, Any] = {"number": 5, "at": 6.0, "event": {"type": "evictions", "blocks": 1200, "owners": {"a": 7}}}
STREAM = b": keep-alive\nid: 7-3\n\n" + b"".join(
    b"id: 7-%d\nevent: x\ndata: %s\n\n" % (event["number"], json.dumps(event).encode()) for event in (FINISHED, EVICTED)
)


def test_events_are_told_line_by_line(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/events?from=now&follow=true&types=": STREAM}):
        first, second = place.command("events").out.splitlines()
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.250  request_finished  request r1  worker —", first)
        assert second.endswith("evictions         blocks 1,200  owners a:7")


def test_json_is_one_document_a_line(place: Place) -> None:
    with running_box(place.runtime, documents() | {"/box/v1/events?from=oldest&follow=false&types=phase": STREAM}):
        lines = place.command("events", "--once", "--type", "phase", "--json").out.splitlines()
        assert [json.loads(line) for line in lines] == [FINISHED, EVICTED]


def test_what_the_box_refuses_is_told_in_its_words(place: Place) -> None:
    refusal = {"/box/v1/events?from=now&follow=true&types=drop": {"error": {"message": "did you mean drops?"}}}
    with running_box(place.runtime, documents() | refusal, code=400):
        answer = place.command("events", "--type", "drop")
        assert (answer.code, answer.err) == (EXIT_ERROR, "dynamo-box: did you mean drops?\n")


def test_without_a_box_that_is_said(place: Place) -> None:
    assert place.command("events").code == EXIT_NOT_RUNNING
