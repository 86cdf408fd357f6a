"""Frames over HTTP: from a box that answers, refuses, restarts, is another version, or is gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import SettingsError
from appliance.tui.banners import banners
from appliance.tui.frame import Feed, Frame, Wanted
from appliance.tui.link import Link, LinkLost, Refused
from appliance.tui.machine import Machine
from appliance.tui.source import BoxSource
from tests.unit.commands.answering_box import answering
from tests.unit.tui import example_box

EVENTS = "/box/v1/events?from=oldest&follow=false"
SESSIONS = "/box/v1/cache/sessions?limit=500"


def documents() -> dict[str, Any]:
    """Of `example_box`, by route."""
    told = "".join(
        f"id: 7-{one.number}\nevent: x\ndata: {msgspec.json.encode(one).decode()}\n\n" for one in example_box.events()
    )
    evictions = {"evictions": example_box.evictions(), "next": 40, "missed": 0}
    return {
        "/box/v1/status": example_box.status().model_dump_json().encode(),
        "/box/v1/cache": msgspec.json.encode(example_box.cache()),
        SESSIONS: msgspec.json.encode(example_box.sessions()),
        "/box/v1/routing?limit=200": msgspec.json.encode(example_box.routing()),
        "/box/v1/requests?limit=200": msgspec.json.encode({"requests": example_box.requests()}),
        "/box/v1/blocks?tier=gpu&worker=0&cells=1024": msgspec.json.encode(example_box.blocks()),
        "/box/v1/blocks?tier=host&cells=64": msgspec.json.encode(example_box.blocks(number=64)),
        "/box/v1/prefixes?limit=128": msgspec.json.encode(example_box.prefixes()),
        "/box/v1/policy/history": msgspec.json.encode({"versions": example_box.versions()}),
        "/box/v1/hints": msgspec.json.encode({"hints": example_box.hints()}),
        "/box/v1/policy": msgspec.json.encode(example_box.policy()),
        "/box/v1/evictions?limit=1000": msgspec.json.encode(evictions),
        "/box/v1/evictions?limit=1000&since=40": b'{"evictions": [], "next": 41, "missed": 1}',
        EVENTS: f": keep-alive\nid: 7-0\n\n{told}".encode(),
    }


def source_of(path: Path) -> BoxSource:
    return BoxSource(Link(path), None, clock=lambda: example_box.NOW)


def test_a_frame_has_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    with answering(tmp_path / "s", documents()):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset({Feed.CACHE, Feed.ROUTING})))
    assert frame.status == example_box.status()
    assert frame.cache == example_box.cache()
    assert frame.routing == example_box.routing()
    assert (frame.sessions, frame.events, frame.policy) == (None, None, None)
    assert (frame.at, frame.said_at, frame.lost) == (example_box.NOW, example_box.NOW, None)


def test_every_feed_can_be_had(tmp_path: Path) -> None:
    with answering(tmp_path / "s", documents()):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset(Feed)))
    assert frame.problems == {}
    assert frame.sessions == example_box.sessions()
    assert frame.policy == example_box.policy()
    assert frame.events == example_box.events()
    assert frame.evictions == example_box.evictions()


def test_without_a_worker_the_blocks_are_the_host_tiers(tmp_path: Path) -> None:
    with answering(tmp_path / "s", documents()):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset({Feed.BLOCKS}), whose="host", cells=64))
    assert frame.problems == {}
    assert frame.blocks == example_box.blocks(number=64)


def test_evictions_are_asked_for_from_where_they_were_left_and_gaps_are_counted(tmp_path: Path) -> None:
    with answering(tmp_path / "s", documents()):
        source = source_of(tmp_path / "s")
        source.frame(Wanted(frozenset({Feed.EVICTIONS})))
        frame = source.frame(Wanted(frozenset({Feed.EVICTIONS})))
    assert frame.evictions == example_box.evictions()
    assert frame.missed_evictions == 1


def test_a_box_that_started_anew_has_other_evictions(tmp_path: Path) -> None:
    with answering(tmp_path / "s", documents()):
        source = source_of(tmp_path / "s")
        source.frame(Wanted(frozenset({Feed.EVICTIONS})))
    (tmp_path / "s").unlink()
    anew = example_box.status(started_at=example_box.NOW)
    none = b'{"evictions": [], "next": 0, "missed": 0}'
    answers = {"/box/v1/status": anew.model_dump_json().encode(), "/box/v1/evictions?limit=1000": none}
    with answering(tmp_path / "s", answers):
        assert source.frame(Wanted(frozenset({Feed.EVICTIONS}))).evictions == ()


def test_a_feed_that_is_refused_or_unknown_leaves_the_others(tmp_path: Path) -> None:
    answers = documents() | {"/box/v1/cache": b'{"tiers": 3}', "/box/v1/policy": b"no json"}
    with answering(tmp_path / "s", answers):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset({Feed.CACHE, Feed.POLICY, Feed.SESSIONS})))
    assert frame.lost is None
    assert frame.sessions is not None
    assert {*frame.problems} == {"cache", "policy"}
    assert "not what this console knows" in frame.problems["cache"]


def test_a_box_that_is_gone_leaves_what_it_said_last(tmp_path: Path) -> None:
    source = source_of(tmp_path / "s")
    assert source.frame(Wanted(frozenset())).lost is not None
    with answering(tmp_path / "s", documents()):
        assert source.frame(Wanted(frozenset())).lost is None
    source.close()
    frame = source.frame(Wanted(frozenset()))
    assert frame.lost is not None
    assert "does not answer" in frame.lost
    assert frame.status == example_box.status()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"hello": 1}', "what answers there is no dynamo-box"),
        (b"<html>", "what answers there is no dynamo-box"),
        (b'{"version": "9.0"}', "the box is 9.0 and this console"),
    ],
)
def test_what_is_no_box_of_this_version_is_said(tmp_path: Path, answer: bytes, words: str) -> None:
    with answering(tmp_path / "s", {"/box/v1/status": answer}):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset()))
    assert frame.lost is not None
    assert frame.lost.startswith(words)


def test_a_newer_box_is_shown_with_a_word_on_its_version(tmp_path: Path) -> None:
    newer = json.loads(documents()["/box/v1/status"]) | {"version": "9.0", "new_in_9": {}}
    newer["workers"][0]["new_in_9"] = 1
    cache = json.loads(documents()["/box/v1/cache"]) | {"new_in_9": 1}
    told = {"/box/v1/status": json.dumps(newer).encode(), "/box/v1/cache": json.dumps(cache).encode()}
    with answering(tmp_path / "s", told):
        frame = source_of(tmp_path / "s").frame(Wanted(frozenset({Feed.CACHE})))
    assert (frame.lost, frame.problems) == (None, {})
    assert frame.status == example_box.status(version="9.0")
    assert frame.cache == example_box.cache()
    told_at_top = banners(frame)
    assert any("9.0" in words for words, _ in told_at_top)


@contextmanager
def web_box(key: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """A box at a URL that keeps connections open; notes who connected."""
    connected: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connected.append("new")

        def do_GET(self) -> None:
            is_known = key is None or self.headers.get("authorization") == f"Bearer {key}"
            body = documents()["/box/v1/status"] if is_known else b'{"error": {"message": "this box needs an API key"}}'
            self.send_response(200 if is_known else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", connected
        finally:
            server.shutdown()
            thread.join()


def test_one_connection_serves_many_frames() -> None:
    with web_box() as (url, connected):
        link = Link(url)
        for _ in range(3):
            link.get("/box/v1/status")
        assert json.loads(link.send("POST", "/x", {"a": 1})) == {"a": 1}
        link.close()
    assert connected == ["new"]


def test_a_key_opens_a_box_and_its_words_are_told_without_one() -> None:
    with web_box("secret") as (url, _):
        link = Link(url, "secret")
        assert link.get("/box/v1/status")
        link.close()
        stranger = Link(url)
        with pytest.raises(Refused, match="this box needs an API key") as caught:
            stranger.get("/box/v1/status")
        assert caught.value.status == 401
        frame = BoxSource(stranger, None).frame(Wanted(frozenset()))
        stranger.close()
    assert frame.lost == "this box needs an API key"


def test_who_is_closed_while_waiting_is_told_at_once() -> None:
    with web_box() as (url, _):
        link = Link(url)
        link.get("/box/v1/status")
        link.close()
        assert link.get("/box/v1/status")
        link.close()
    with pytest.raises(LinkLost):
        link.get("/box/v1/status")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://h:99999", "box"])
def test_what_is_no_url_of_a_box_is_refused_with_one_that_is(url: str) -> None:
    with pytest.raises(SettingsError, match="not the URL of a box"):
        Link(url)


@pytest.mark.parametrize(
    ("where", "is_local"),
    [
        (Path("/run/control.sock"), True),
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("https://box.example:8000", False),
        ("http://10.0.0.3:8000/behind", False),
    ],
)
def test_an_address_tells_whether_the_box_is_on_this_machine(where: Path | str, is_local: bool) -> None:
    assert Link(where).is_local is is_local


def test_this_machine_knows_what_a_process_takes() -> None:
    import os

    machine = Machine()
    workers = [example_box.worker(0, pid=os.getpid(), devices=["cpu:0"]), example_box.worker(1, pid=None)]
    machine.loads(workers)
    loads = machine.loads(workers)
    assert {*loads} == {0}
    assert loads[0].memory_bytes
    assert loads[0].memory_bytes > 2**20
    assert loads[0].cores is not None
    assert loads[0].gpus == []


def test_a_process_that_is_gone_takes_nothing() -> None:
    gone = example_box.worker(0, pid=2**22 + 1, devices=["cuda:0"])
    load = Machine().loads([gone])[0]
    assert (load.cores, load.memory_bytes) == (None, None)


def test_a_frame_without_a_box_is_nothing_known() -> None:
    frame = Frame(at=0.0)
    assert (frame.status, frame.lost, dict(frame.problems)) == (None, None, {})
