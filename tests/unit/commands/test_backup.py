"""`dynamo-box backup`, `export` and `import`."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.cache.policy_source import load_policy, read_policy
from appliance.cache.policy_text import policy_text
from appliance.cli import EXIT_ERROR
from appliance.records import PolicyRecord
from appliance.settings import validate_file
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.commands.answering_box import documents, running_box
from tests.unit.commands.conftest import Place
from tests.unit.state.remembered import request

MINE = '[[rule]]\nregion = "system"\npriority = 70\n\n[[rule]]\npriority = 5\n'
HINT = {
    "id": "h1",
    "verb": "pin",
    "session": "s1",
    "by": "me",
    "given_at": 1.0,
    "expires_at": 4e9,
    "remaining_seconds": 60.0,
    "token_start": 0,
    "token_end": None,
    "priority": 100,
    "ttl_seconds": None,
}


@pytest.fixture
def state(place: Place) -> Path:
    """What a box of this place has remembered."""
    path = place.home / ".local" / "share" / "dynamo-box" / "state.db"
    database = Database(path, Keeping(1e12, 0))
    assert database.start() == []
    mine = read_policy(MINE, "mine")
    for record in (
        PolicyRecord(1.0, "chat", policy_text(load_policy("chat")), "settings", "chat"),
        PolicyRecord(2.0, "mine", "[[rule]]\npriority = 1\n", "bo"),
        PolicyRecord(3.0, "mine", policy_text(mine), "bo", "better"),
        request(),
    ):
        database.record(record)
    database.stop()
    return path


@contextmanager
def box(place: Place, sent: list[Any]) -> Iterator[None]:
    def keep(answer: Any) -> Any:
        def told(body: Any) -> Any:
            sent.append(body)
            return answer

        return told

    told = {
        "/box/v1/hints": {"hints": [HINT]},
        "PUT /box/v1/policy": keep({"name": "mine"}),
        "POST /box/v1/hints": keep({"applied": True}),
    }
    with running_box(place.runtime, documents() | told):
        yield


def test_a_backup_is_a_file_that_a_box_can_go_on_with(place: Place, state: Path) -> None:
    copy = place.home / "copy.db"
    answer = place.command("backup", str(copy), "--json")
    assert answer.json == {"file": str(copy), "of": str(state), "bytes": copy.stat().st_size}
    opened = Database(copy, Keeping(1e12, 0))
    assert opened.start() == []
    assert opened.read(lambda reader: reader.request("r1")) == request()
    opened.stop()


def test_a_backup_of_nothing_is_refused(place: Place) -> None:
    answer = place.command("backup", str(place.home / "copy.db"))
    assert answer.code == EXIT_ERROR
    assert "no such file" in answer.err


def test_what_was_exported_is_taken_over_elsewhere(place: Place, state: Path) -> None:
    config = place.home / "first.toml"
    config.write_text('[server]\nport = 8123\napi_keys = ["secret"]\n[paths]\ncache = "/tmp/here"\n')
    file = place.home / "decided.json"
    sent: list[Any] = []
    with box(place, sent):
        said = place.command("export", str(file), "--config", str(config)).out
        assert "2 policies" in said
        assert "1 hints" in said
        told = json.loads(file.read_text())
        assert told["settings"] == {"server.port": 8123}
        assert [one["name"] for one in told["policies"]] == ["chat", "mine"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CONFIG_HOME", str(place.home / "new"))
            dry = place.command("import", str(file), "--dry-run").out
            assert not (place.home / "new").exists()
            assert sent == []
            assert dry.startswith("nothing is done")
            assert place.command("import", str(file)).out == dry.split("\n", 1)[1]
        written = place.home / "new" / "dynamo-box" / "config.toml"
        assert validate_file(written, {}).settings.server.port == 8123
        mine = written.parent / "policies" / "mine.toml"
        assert load_policy(str(mine)).rules[0].priority == 70
        assert not (mine.parent / "chat.toml").exists()
        activated, pinned = sent
        assert (activated["name"], activated["author"]) == ("mine", "bo")
        assert read_policy(activated["text"], "mine").rules[0].priority == 70
        assert (pinned["verb"], pinned["session"], pinned["priority"]) == ("pin", "s1", 100)
        assert pinned["expires_in"] > 1e6


def test_what_is_there_is_left_as_it_is_and_differences_are_said(place: Place, state: Path) -> None:
    config = place.home / "config.toml"
    config.write_text("[server]\nport = 8123\n")
    file = place.home / "decided.json"
    place.command("export", str(file), "--config", str(config))
    config.write_text("[server]\nport = 9000\n")
    (place.home / "policies").mkdir()
    (place.home / "policies" / "mine.toml").write_text("# my own\n")
    lines = place.command("import", str(file), "--config", str(config)).out.splitlines()
    assert lines[0] == f"server.port: is 9000 here, 8123 there; {config} is left as it is"
    assert "is there with another text and left as it is" in lines[1]
    assert "there is none" in lines[2]
    assert config.read_text() == "[server]\nport = 9000\n"
    assert (place.home / "policies" / "mine.toml").read_text() == "# my own\n"


EVIL = {"name": "../evil", "text": MINE, "author": "", "note": None, "activated_at": 0}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": "x"}, "x version 1; this program reads dynamo-box-export version 1"),
        ({"version": 2}, "version 2"),
        ({"settings": 5}, "not what `dynamo-box export` writes"),
        ({"settings": {"server.prot": 1}}, "server.prot"),
        ({"policies": [EVIL]}, "cannot be the name of a file"),
        ({"policies": [EVIL | {"name": "mine", "text": "[[rule]]"}]}, "mine.toml:1: a rule without priority"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_left(place: Place, changed: dict[str, Any], told: str) -> None:
    file = place.home / "decided.json"
    whole = {"format": "dynamo-box-export", "version": 1, "settings": {"server.port": 1}, "policies": [], "hints": []}
    file.write_text(json.dumps(whole | changed))
    config = place.home / "new.toml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(place.home / "new"))
        answer = place.command("import", str(file))
    assert answer.code != 0
    assert told in answer.err
    assert not config.exists()
    assert not list((place.home / "new").rglob("*.toml"))
    assert place.command("import", str(place.home / "nothing.json")).code == EXIT_ERROR
