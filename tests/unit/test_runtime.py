"""The runtime folder: who holds it, what is said about them, and what a dead box leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.endpoint import bind_unix
from appliance.errors import AlreadyRunning
from appliance.process_tree import MARK, SHARED_MEMORY, members
from appliance.runtime import BoxFile, Runtime

BOX = BoxFile(
    pid=4711, tree="nobody", endpoint="http://127.0.0.1:8000", model="small", log="/log", started_at=1_700_000_000.5
)

HOLDER = """
import sys
from pathlib import Path
from appliance.runtime import Runtime
Runtime(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "run"


@pytest.fixture
def runtime(folder: Path) -> Iterator[Runtime]:
    """Held."""
    runtime = Runtime(folder)
    runtime.acquire()
    yield runtime
    runtime.release()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A file in shared memory that no process has mapped."""
    path = SHARED_MEMORY / f"dynamo-box-test-{uuid.uuid4().hex}"
    path.write_bytes(bytes(16))
    yield path
    path.unlink(missing_ok=True)


def test_one_box_at_a_time_holds_the_folder(runtime: Runtime, folder: Path) -> None:
    with pytest.raises(AlreadyRunning):
        Runtime(folder).acquire()
    runtime.release()
    other = Runtime(folder)
    other.acquire()
    assert runtime.held()
    other.release()


def test_the_refused_learn_pid_and_endpoint_of_the_holder(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    with pytest.raises(AlreadyRunning, match=r"pid 4711, http://127\.0\.0\.1:8000") as refusal:
        Runtime(folder).acquire()
    assert refusal.value.hint is not None


def test_a_holder_without_a_description_is_still_starting(runtime: Runtime, folder: Path) -> None:
    with pytest.raises(AlreadyRunning, match="still starting"):
        Runtime(folder).acquire()


def test_the_folder_is_for_its_user_only(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    runtime.remember_shared_memory([])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_held_asks_without_taking(runtime: Runtime, folder: Path) -> None:
    other = Runtime(folder)
    assert other.held()
    assert other.held()
    runtime.release()
    assert not other.held()
    other.acquire()
    other.release()


def test_nobody_holds_a_folder_that_is_not_there(folder: Path) -> None:
    assert not Runtime(folder).held()
    assert Runtime(folder).read() is None
    assert not folder.exists()


def test_the_lock_ends_with_its_process(folder: Path) -> None:
    line = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert Runtime(folder).held()
        holder.kill()
    assert not Runtime(folder).held()


def test_what_is_written_is_read(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    assert Runtime(folder).read() == BOX
    newer = dataclasses.replace(BOX, log=None)
    runtime.write(newer)
    assert Runtime(folder).read() == newer


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', '{"unknown": 1}'])
def test_what_is_no_description_counts_as_none(runtime: Runtime, folder: Path, text: str) -> None:
    (folder / "box.json").write_text(text)
    assert runtime.read() is None


def test_a_writer_killed_half_way_leaves_the_old_description(
    runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.write(BOX)

    def killed(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            runtime.write(dataclasses.replace(BOX, pid=1))
    assert runtime.read() == BOX
    runtime.write(dataclasses.replace(BOX, pid=2))
    assert runtime.read() == dataclasses.replace(BOX, pid=2)
    assert sorted(path.name for path in folder.iterdir()) == ["box.json", "lock"]


def test_release_removes_what_points_at_the_box(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    bind_unix(runtime.socket).close()
    runtime.release()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_box_that_was_refused_takes_nothing_from_the_holder(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    refused = Runtime(folder)
    with pytest.raises(AlreadyRunning):
        refused.acquire()
    refused.release()
    assert runtime.read() == BOX
    assert runtime.held()


def test_a_dead_box_s_files_are_not_taken_for_those_of_the_next(runtime: Runtime, folder: Path) -> None:
    runtime.write(BOX)
    bind_unix(runtime.socket).close()
    assert runtime.clean() == []
    assert [path.name for path in folder.iterdir()] == ["lock"]
    with pytest.raises(AlreadyRunning, match="still starting"):
        Runtime(folder).acquire()


def test_remembered_memory_is_removed_once(runtime: Runtime, memory: Path) -> None:
    runtime.remember_shared_memory([memory, memory.with_name("gone")])
    assert runtime.clean() == [memory]
    assert not memory.exists()
    assert runtime.clean() == []


@pytest.mark.parametrize("text", ["", "{", '["/dev/shm/'])
def test_a_record_that_is_no_json_removes_nothing_and_is_dropped(runtime: Runtime, folder: Path, text: str) -> None:
    (folder / "shared-memory.json").write_text(text)
    assert runtime.clean() == []
    assert not (folder / "shared-memory.json").exists()


def test_the_record_is_a_sorted_list_of_paths(runtime: Runtime, folder: Path) -> None:
    runtime.remember_shared_memory({SHARED_MEMORY / "b", SHARED_MEMORY / "a"})
    record = json.loads((folder / "shared-memory.json").read_text())
    assert record == [f"{SHARED_MEMORY}/a", f"{SHARED_MEMORY}/b"]


def test_processes_that_outlived_box_and_warden_are_ended_at_the_next_start(runtime: Runtime) -> None:
    tree = uuid.uuid4().hex
    with subprocess.Popen(["/usr/bin/env", "sleep", "60"], env=os.environ | {MARK: tree}) as engine:
        runtime.write(dataclasses.replace(BOX, tree=tree))
        runtime.clean()
        assert engine.wait(10) == -signal.SIGKILL
    assert members(tree) == []
