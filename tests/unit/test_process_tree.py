"""Small real process trees: what is found, what is killed, and what is left in shared memory."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.process_tree import (
    MARK,
    SHARED_MEMORY,
    end_engines,
    end_tree,
    is_resource_tracker,
    members,
    remove_unused,
    shared_memory_of,
)

Start = Callable[..., tuple[subprocess.Popen[str], str]]

# A family of three; one lives in a session of its own and does not listen to SIGTERM.
FAMILY = "trap '' TERM; setsid sleep 60 & sleep 60 & echo ready; wait"

# A semaphore and memory as vLLM's processes make them. The sleeper holds the resource tracker's pipe, as engines do.
MAKER = """
import multiprocessing, subprocess, sys
from multiprocessing import resource_tracker, shared_memory
lock = multiprocessing.get_context("spawn").Lock()
memory = shared_memory.SharedMemory(create=True, size=4096)
sleeper = subprocess.Popen(["sleep", "60"], pass_fds=[resource_tracker.getfd()])
tracker = resource_tracker._resource_tracker._pid
print("sem." + lock._semlock.name.lstrip("/"), memory.name.lstrip("/"), tracker, sleeper.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mark() -> Iterator[str]:
    mark = uuid.uuid4().hex
    yield mark
    end_tree(mark)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process and returns it with the first line it prints."""
    with ExitStack() as started:

        def start(*command: str, mark: str | None = None) -> tuple[subprocess.Popen[str], str]:
            environment = {name: value for name, value in os.environ.items() if name != MARK}
            process = subprocess.Popen(
                command,
                env=environment | ({MARK: mark} if mark else {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            assert process.stdout is not None
            return process, process.stdout.readline().strip()

        yield start


@pytest.fixture
def foreign_file() -> Iterator[Path]:
    """A file in shared memory that is nobody's."""
    path = SHARED_MEMORY / f"dynamo-box-test-{uuid.uuid4().hex}"
    path.write_bytes(bytes(4096))
    yield path
    path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """A zombie is not: it only waits for somebody to ask how it ended."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def make_memory(start: Start, mark: str) -> tuple[subprocess.Popen[str], Path, Path, int, int]:
    """The maker, its semaphore and its memory, its resource tracker and its sleeping child."""
    maker, line = start(sys.executable, "-c", MAKER, mark=mark)
    semaphore, memory, tracker, sleeper = line.split()
    return maker, SHARED_MEMORY / semaphore, SHARED_MEMORY / memory, int(tracker), int(sleeper)


def test_members_are_all_that_were_started_under_the_mark_and_nobody_else(start: Start, mark: str) -> None:
    root, _ = start("sh", "-c", FAMILY, mark=mark)
    start("sh", "-c", "echo ready; exec sleep 60", mark=mark + "0")
    start("sh", "-c", "echo ready; exec sleep 60")
    assert root.pid in members(mark)
    assert len(members(mark)) == 3
    assert os.getpid() not in members(mark)


def test_no_process_of_an_ended_tree_is_left_and_all_others_live(start: Start, mark: str) -> None:
    start("sh", "-c", FAMILY, mark=mark)
    family = members(mark)
    stranger, _ = start("sh", "-c", "echo ready; exec sleep 60")
    end_tree(mark)
    assert members(mark) == []
    assert not any(map(is_alive, family))
    assert stranger.poll() is None


def test_an_orphan_is_found_by_its_mark(start: Start, mark: str) -> None:
    root, _ = start("sh", "-c", FAMILY, mark=mark)
    root.kill()
    root.wait()
    assert len(members(mark)) == 2
    end_tree(mark)
    assert members(mark) == []


def test_a_tree_without_processes_ends_at_once(mark: str) -> None:
    assert end_tree(mark, patience_seconds=0.0) == []


def test_a_semaphore_is_found_under_the_name_it_was_linked_to(start: Start, mark: str) -> None:
    maker, semaphore, memory, *_ = make_memory(start, mark)
    assert shared_memory_of([maker.pid]) == {semaphore, memory}


def test_a_resource_tracker_is_known_by_its_command(start: Start, mark: str) -> None:
    maker, _, _, tracker, sleeper = make_memory(start, mark)
    assert [is_resource_tracker(pid) for pid in (maker.pid, tracker, sleeper)] == [False, True, False]


def test_nothing_of_an_ended_tree_is_left_in_shared_memory(start: Start, mark: str, foreign_file: Path) -> None:
    _, semaphore, memory, *_ = make_memory(start, mark)
    end_tree(mark)
    assert not semaphore.exists()
    assert not memory.exists()
    assert foreign_file.exists()


def test_memory_is_removed_though_the_resource_tracker_was_killed(start: Start, mark: str) -> None:
    _, semaphore, memory, tracker, _ = make_memory(start, mark)
    os.kill(tracker, signal.SIGKILL)
    assert {semaphore, memory} <= set(end_tree(mark))
    assert not semaphore.exists()
    assert not memory.exists()


def test_the_resource_tracker_gets_time_to_remove_what_its_dead_maker_left(start: Start, mark: str) -> None:
    maker, semaphore, memory, tracker, _ = make_memory(start, mark)
    maker.kill()
    maker.wait()
    assert is_alive(tracker)
    assert semaphore.exists()
    assert end_tree(mark) == []
    assert not semaphore.exists()
    assert not memory.exists()
    assert not is_alive(tracker)


def test_memory_that_a_stranger_has_mapped_is_kept(start: Start, mark: str) -> None:
    _, semaphore, memory, tracker, _ = make_memory(start, mark)
    os.kill(tracker, signal.SIGKILL)
    with memory.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert end_tree(mark) == [semaphore]
        assert memory.exists()
    assert remove_unused([memory]) == [memory]


def test_engines_end_without_the_resource_tracker_of_the_supervisor(start: Start, mark: str) -> None:
    maker, semaphore, memory, tracker, sleeper = make_memory(start, mark)
    os.kill(tracker, signal.SIGSTOP)
    end_engines(mark)
    assert members(mark) == [tracker]
    assert not any(map(is_alive, (maker.pid, sleeper)))
    assert not semaphore.exists()
    assert not memory.exists()
    os.kill(tracker, signal.SIGKILL)


def test_what_is_gone_already_is_not_removed_again(foreign_file: Path) -> None:
    assert remove_unused([foreign_file, foreign_file]) == [foreign_file]
    assert remove_unused([foreign_file]) == []
