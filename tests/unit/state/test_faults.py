"""Files that are not as they should be: told plainly, and the box goes on."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import NotReady
from appliance.state import database as module
from appliance.state.batch import Batches
from appliance.state.database import Database
from appliance.state.engines import WriteSession
from appliance.state.keeping import Keeping
from tests.unit.state.remembered import request

FOR_EVER = Keeping(1e12, 0)


def filled(path: Path) -> None:
    """A file with one request, closed."""
    database = Database(path, FOR_EVER)
    assert database.start() == []
    database.record(request())
    database.stop()


def ids(database: Database) -> list[str]:
    return [one.id for one in database.read(lambda reader: reader.requests())]


def changed(path: Path, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()


def test_a_file_of_a_newer_version_is_kept_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    filled(path)
    changed(path, "UPDATE alembic_version SET version_num = '9999'")
    database = Database(path, FOR_EVER)
    (words,) = database.start()
    assert "version 9999, newer than" in words
    (aside,) = tmp_path.glob("state.db.newer-*")
    assert str(aside) in words
    database.record(request("r2"))
    assert ids(database) == ["r2"]
    database.stop()
    with sqlite3.connect(aside) as connection:
        assert connection.execute("SELECT id FROM requests").fetchall() == [("r1",)]
    connection.close()


def scribble(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def page_of_noise(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 4))


def foreign(path: Path) -> None:
    path.unlink()
    changed(path, "CREATE TABLE somebody_elses (x)")


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(scribble, "damaged"), (cut_in_half, "damaged"), (page_of_noise, "damaged"), (foreign, "other")],
)
def test_a_damaged_or_foreign_file_is_kept_aside_and_a_new_one_begun(
    tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    path = tmp_path / "state.db"
    filled(path)
    damage(path)
    before = path.read_bytes()
    database = Database(path, FOR_EVER)
    (words,) = database.start()
    (aside,) = tmp_path.glob(f"state.db.{kind}-*")
    assert str(aside) in words
    assert aside.read_bytes()[4096:] == before[4096:]
    database.record(request("r2"))
    assert ids(database) == ["r2"]
    assert database.facts().trouble is None
    database.stop()


def test_two_files_put_aside_in_one_second_are_both_there(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for _ in range(2):
        path.write_bytes(b"noise" * 2000)
        database = Database(path, FOR_EVER, clock=lambda: 0.0)
        database.start()
        database.stop()
    assert len(list(tmp_path.glob("state.db.damaged-19700101-000000*"))) == 2


def test_damage_that_is_met_while_the_box_runs_makes_a_new_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reader is to meet it: on a busy machine trimming may still go on, and would meet it first.
    monkeypatch.setattr(module, "trim", lambda *_: iter(()))
    path = tmp_path / "state.db"
    database = Database(path, FOR_EVER)
    database.start()
    for number in range(300):
        database.record(request(f"r{number}"))
    assert database.settle()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(NotReady, match="damaged"):
        database.read(lambda reader: reader.counts())
    database.record(request("after"))
    assert database.settle(10)
    assert ids(database) == ["after"]
    assert len(list(tmp_path.glob("state.db.damaged-*"))) == 1
    assert "a new one is begun" in caplog.text
    database.stop()


def test_a_file_that_another_box_has_is_left_alone_and_taken_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    path = tmp_path / "state.db"
    first, second = Database(path, FOR_EVER), Database(path, FOR_EVER)
    assert first.start() == []
    (words,) = second.start()
    assert "in use by another box" in words
    second.record(request("r2"))
    assert second.facts().trouble is not None
    with pytest.raises(NotReady, match="in use by another box"):
        second.read(lambda reader: reader.requests())
    first.record(request("r1"))
    assert ids(first) == ["r1"]
    first.stop()
    wait_for(lambda: second.facts().queued == 0)
    assert sorted(ids(second)) == ["r1", "r2"]
    second.stop()


def test_a_file_that_another_program_has_locked_is_written_when_it_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr("appliance.state.engines.BUSY_SECONDS", 0.05)
    path = tmp_path / "state.db"
    database = Database(path, FOR_EVER)
    database.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database.record(request("r1"))
    wait_for(lambda: database.facts().trouble is not None)
    assert "another program has locked it" in str(database.facts().trouble)
    assert ids(database) == []
    other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: database.facts().queued == 0)
    assert ids(database) == ["r1"]
    assert caplog.text.count("another program has locked it") == 1
    assert "is written again" in caplog.text
    database.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


CHILD = """
import resource, sys
from pathlib import Path
from appliance.state import database as module
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.state.remembered import request, snapshot
"""


def in_child(script: str, *arguments: str) -> str:
    line = [sys.executable, "-W", "error", "-c", CHILD + script, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_full_disk_costs_records_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    script = """
module.RETRY_SECONDS = 0.02
database = Database(Path(sys.argv[1]), Keeping(1e12, 0))
assert database.start() == []
database.record(request("before"))
assert database.settle()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for number in range(3000):
    database.record(request(f"r{number}"))
for number in range(130):
    database.record(snapshot(number))
while database.facts().trouble is None:
    pass
facts = database.facts()
assert "full" in facts.trouble or "disk failed" in facts.trouble, facts
assert facts.dropped == {"snapshots": 10}, facts
ids = [one.id for one in database.read(lambda reader: reader.requests(limit=10000))]
assert "before" in ids
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
while database.facts().queued:
    pass
assert len(database.read(lambda reader: reader.requests(limit=10000))) == 3001
database.stop()
print("done")
"""
    assert in_child(script, str(tmp_path / "state.db")) == "done\n"
    sound(tmp_path / "state.db")


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become somebody who may not write there")
def test_a_folder_that_cannot_be_written_is_said_and_the_box_goes_on(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"state-{os.getpid()}"  # noqa: S108 – pytest's folder is root's alone
    folder.mkdir(mode=0o755)
    filled(folder / "state.db")
    script = """
import os
os.setuid(65534)
database = Database(Path(sys.argv[1]), Keeping(1e12, 0))
(words,) = database.start()
database.record(request("r2"))
assert not database.settle()
database.stop()
print(words)
"""
    try:
        told = in_child(script, str(folder / "state.db"))
        assert "Permission denied" in told
        assert "nothing is remembered until this is mended" in told
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_file_killed_in_the_middle_loses_at_most_what_was_not_told_to_be_written(tmp_path: Path) -> None:
    """Killed again and again while it writes: what was settled is there, and the file is sound."""
    script = """
database = Database(Path(sys.argv[1]), Keeping(1e12, 2 * 2**20))
assert database.start() == []
first = int(sys.argv[2])
for number in range(first, first + 100_000):
    database.record(request(f"r{number}", arrived_at=float(number)))
    database.record(snapshot(number))
    if number % 50 == 0:
        assert database.settle(10)
        print(number, flush=True)
"""
    path, last = tmp_path / "state.db", -1
    for round_number in range(4):
        line = [sys.executable, "-c", CHILD + script, str(path), str(last + 1)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(3 + 2 * round_number):
                last = int(child.stdout.readline())
            child.kill()
            rest = [int(word) for word in child.stdout.read().split()]
        last = max([last, *rest])
        sound(path)
        with sqlite3.connect(path) as connection:
            newest = connection.execute("SELECT max(arrived_at) FROM requests").fetchone()[0]
        connection.close()
        assert newest >= last
        last = int(newest)
    assert list(tmp_path.glob("state.db.damaged*")) == []


def sound(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    filled(tmp_path / "state.db")
    with (tmp_path / "state.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_whatever_goes_wrong_at_the_start_the_box_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    faults = [RuntimeError("a mistake of ours")]

    def batches(session: WriteSession) -> Batches:
        if faults:
            raise faults.pop()
        return Batches(session)

    monkeypatch.setattr(module, "Batches", batches)
    database = Database(tmp_path / "state.db", FOR_EVER)
    assert database.start() == []
    database.record(request())
    wait_for(lambda: database.facts().queued == 0)
    assert ids(database) == ["r1"]
    assert "a mistake of ours" in caplog.text
    database.stop()
