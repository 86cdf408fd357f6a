"""A copy of the file, whoever writes it."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from appliance.state.backup import BackupFailed, back_up
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.state.remembered import request

FOR_EVER = Keeping(1e12, 0)


def filled(path: Path, number: int = 100) -> Database:
    database = Database(path, FOR_EVER)
    assert database.start() == []
    for each in range(number):
        database.record(request(f"r{each}"))
    assert database.settle()
    return database


def test_a_copy_made_while_it_is_written_is_whole_and_can_be_opened(tmp_path: Path) -> None:
    database = filled(tmp_path / "state.db")
    copy = tmp_path / "elsewhere" / "copy.db"
    copy.parent.mkdir()
    copy.write_text("what stood there before")
    assert back_up(database.path, copy) == copy.stat().st_size
    database.record(request("later"))
    assert database.settle()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
    database.stop()
    opened = Database(copy, FOR_EVER)
    assert opened.start() == []
    assert len(opened.read(lambda reader: reader.requests(limit=1000))) == 100
    opened.stop()


def test_a_copy_of_a_box_that_was_killed_has_what_it_had_written(tmp_path: Path) -> None:
    database = filled(tmp_path / "state.db")
    for name in ("state.db", "state.db-wal"):
        (tmp_path / "killed").mkdir(exist_ok=True)
        (tmp_path / "killed" / name).write_bytes((tmp_path / name).read_bytes())
    database.stop()
    copy = tmp_path / "copy.db"
    back_up(tmp_path / "killed" / "state.db", copy)
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (100,)
    connection.close()


def test_what_is_no_file_of_a_box_is_refused_and_the_target_stays(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("before")
    (tmp_path / "noise.db").write_bytes(b"noise" * 2000)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE somebody_elses (x)")
    connection.close()
    database = filled(tmp_path / "state.db", 1)
    cases = {
        "nothing.db": ("no such file", target),
        "noise.db": ("could not be copied", target),
        "other.db": ("was not written by a box", target),
        "state.db": ("is the file that is to be copied", database.path),
    }
    for name, (told, to) in cases.items():
        with pytest.raises(BackupFailed, match=told):
            back_up(tmp_path / name, to)
    with pytest.raises(BackupFailed, match="is a folder"):
        back_up(database.path, tmp_path)
    with pytest.raises(BackupFailed, match="could not be copied"):
        back_up(database.path, tmp_path / "no" / "such" / "folder.db")
    assert target.read_text() == "before"
    assert not list(tmp_path.glob("*.new"))
    database.stop()
