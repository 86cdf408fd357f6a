from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.cli import EXIT_ERROR, EXIT_NOT_RUNNING, EXIT_USAGE
from appliance.commands import cache
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place

GPU = {"tier": "gpu", "worker": 1, "blocks": 1000, "used": 640, "held": None, "bytes": None}
HOST = {"tier": "host", "worker": None, "blocks": 8000, "used": 1280, "held": 0, "bytes": 2**31}
SESSION = {
    "session": "s1",
    "parent": "lead",
    "state": "tool_wait",
    "prompt_tokens": 20480,
    "gpu_tokens": {"0": 1024, "1": 20480},
    "host_tokens": 10240,
}


@contextmanager
def holding(place: Place, **answers: Any) -> Iterator[list[Any]]:
    """A box with this cache; what was sent to it to flush."""
    sent: list[Any] = []

    def flush(body: Any) -> Any:
        sent.append(body)
        return {"flushed": [{"tier": "gpu", "worker": 1, "blocks": 640, "error": answers.get("refusal")}]}

    def resize(body: Any) -> Any:
        sent.append(body)
        return {"tier": "host", "blocks": 512, "bytes": 2**29, "error": answers.get("refusal")}

    error = answers.get("error")
    cache = {
        "/box/v1/cache": {"block_tokens": 32, "tiers": [GPU, HOST]},
        "/box/v1/cache/sessions?limit=1": {"sessions": [SESSION], "total": 3},
        "POST /box/v1/cache/verify": {
            "sound": error is None,
            "checks": [GPU | {"error": error}, HOST | {"error": None}],
        },
        "POST /box/v1/cache/flush": flush,
        "POST /box/v1/cache/resize": resize,
    }
    with running_box(place.runtime, documents() | cache):
        yield sent


def test_stats_tell_each_tier_in_blocks_and_tokens(place: Place) -> None:
    with holding(place):
        lines = place.command("cache", "stats").out.splitlines()
        assert lines[1].split() == ["gpu", "of", "worker", "1", "1,000", "640", "—", "32,000"]
        assert lines[2].split() == ["host", "8,000", "1,280", "0", "256,000", "2.0", "GiB"]
        assert place.command("cache", "stats", "--json").json["tiers"] == [GPU, HOST]


def test_sessions_are_listed_with_what_is_where(place: Place) -> None:
    with holding(place):
        lines = place.command("cache", "ls", "--limit", "1").out.splitlines()
        assert lines[1].split() == ["s1", "tool_wait", "20,480", "0:1,024", "1:20,480", "10,240", "of", "lead"]
        assert lines[2] == "2 more: --limit 3"


def test_the_exit_status_of_verify_tells_whether_all_is_sound(place: Place) -> None:
    with holding(place):
        answer = place.command("cache", "verify")
        assert (answer.code, [line.split()[-1] for line in answer.out.splitlines()]) == (0, ["sound", "sound"])
    with holding(place, error="two blocks are one"):
        answer = place.command("cache", "verify")
        assert answer.code == EXIT_ERROR
        assert answer.out.startswith("gpu of worker 1  two blocks are one")


def test_a_check_that_takes_long_tells_how_far_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PROGRESS_SECONDS", 0.01)
    asked = threading.Event()
    disk = {"tier": "disk", "worker": None, "blocks": 9000, "used": 5000, "held": 0, "bytes": 2**31, "checked": 1200}

    def verify(_: Any) -> Any:
        asked.wait(10)
        return {"sound": True, "checks": [disk | {"error": None}]}

    def shown() -> Any:
        asked.set()
        return {"block_tokens": 32, "tiers": [HOST, disk]}

    answers = {"POST /box/v1/cache/verify": verify, "/box/v1/cache": shown}
    with running_box(place.runtime, documents() | answers):
        answer = place.command("cache", "verify")
    assert (answer.code, answer.out.split()) == (0, ["disk", "sound"])
    assert answer.err.splitlines()[0] == "disk  1,200 of 5,000 blocks"


def test_flush_sends_the_tier_and_the_worker_and_tells_what_was_dropped(place: Place) -> None:
    with holding(place) as sent:
        answer = place.command("cache", "flush", "gpu", "--worker", "1")
        assert (answer.code, answer.out) == (0, "gpu of worker 1  640 blocks dropped\n")
        assert sent == [{"tier": "gpu", "worker": 1}]
    with holding(place, refusal="requests run there"):
        assert place.command("cache", "flush", "gpu").code == EXIT_ERROR


def test_resize_sends_tier_and_size_and_tells_what_the_tier_is_now(place: Place) -> None:
    with holding(place) as sent:
        answer = place.command("cache", "resize", "host", "512MiB")
        assert (answer.code, answer.out) == (0, "host  512 blocks, 0.50 GiB\n")
        assert sent == [{"tier": "host", "bytes": 2**29}]
        assert place.command("cache", "resize", "host", "512MiB", "--json").json["blocks"] == 512
    with holding(place, refusal="it cannot be larger"):
        answer = place.command("cache", "resize", "host", "1TiB")
        assert (answer.code, answer.out.splitlines()[1]) == (EXIT_ERROR, "it cannot be larger")


def test_a_size_that_is_none_is_refused(place: Place) -> None:
    with pytest.raises(SystemExit, match=str(EXIT_USAGE)):
        place.command("cache", "resize", "host", "large")
    assert "'large' is not" in place.capture.readouterr().err


def test_an_unknown_tier_is_refused_with_the_nearest_one(place: Place) -> None:
    with pytest.raises(SystemExit, match=str(EXIT_USAGE)):
        place.command("cache", "flush", "hots")
    assert "unknown tier hots; did you mean host?" in place.capture.readouterr().err


def test_without_a_box_there_is_no_cache(place: Place) -> None:
    assert place.command("cache", "stats").code == EXIT_NOT_RUNNING
