"""The processes of one box, found by a mark in their environment, and the shared memory they hold.

Standard library only: the warden runs on this when everything else is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

MARK = "_DYNAMO_BOX_TREE"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 – the kernel's shared memory, not a temporary file
POLL_SECONDS = 0.02
_PROC = Path("/proc")


def members(mark: str) -> list[int]:
    """Process ids, except the caller's, that were started under `mark`."""
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in _pids() if pid != os.getpid() and wanted in _read(pid, "environ").split(b"\0")]


def is_resource_tracker(pid: int) -> bool:
    """Python's own janitor of shared memory: it ends by itself once its users are gone, after cleaning up."""
    return b"from multiprocessing.resource_tracker import main" in _read(pid, "cmdline")


def shared_memory_of(pids: Iterable[int]) -> set[Path]:
    """Files in shared memory that these processes have mapped.

    Found by inode: a semaphore is made under another name and then linked to its own, and the maps of its maker go on
    showing that other name, as deleted.
    """
    mapped = {inode for pid in pids for inode in _mapped_inodes(pid)}
    with contextlib.suppress(FileNotFoundError), os.scandir(SHARED_MEMORY) as entries:
        return {Path(entry.path) for entry in entries if entry.inode() in mapped}
    return set()


def remove_unused(paths: Iterable[Path]) -> list[Path]:
    """Unlink those files that no process has mapped any more; returns what was removed."""
    used = shared_memory_of(_pids())
    removed = []
    for path in sorted(set(paths) - used):
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def end_tree(mark: str, patience_seconds: float = 4.0) -> list[Path]:
    """Kill every process of a box whose supervisor is gone, and remove its shared memory; returns what was removed.

    Returns when no process is left or patience is over. Half of it goes to the resource trackers, which alone know of
    memory whose users died before; what they remove is not in the answer.
    """
    began = time.monotonic()
    half, whole = began + patience_seconds / 2, began + patience_seconds
    memory = _kill(mark, half, spare_trackers=True)
    while members(mark) and time.monotonic() < half:
        time.sleep(POLL_SECONDS)
    memory |= _kill(mark, whole, spare_trackers=False)
    return remove_unused(memory)


def end_engines(mark: str, patience_seconds: float = 4.0) -> None:
    """Kill the engine processes of a box whose supervisor lives, and remove their shared memory."""
    remove_unused(_kill(mark, time.monotonic() + patience_seconds, spare_trackers=True))


def _kill(mark: str, deadline: float, *, spare_trackers: bool) -> set[Path]:
    """Kill until none is left; returns the shared memory that the killed had mapped."""
    memory: set[Path] = set()
    while time.monotonic() < deadline:
        doomed = [pid for pid in members(mark) if not (spare_trackers and is_resource_tracker(pid))]
        if not doomed:
            break
        memory |= shared_memory_of(doomed)
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return memory


def _mapped_inodes(pid: int) -> Iterator[int]:
    """Of the files in shared memory that this process has mapped, whatever their names are by now."""
    prefix = f"{SHARED_MEMORY}/".encode()
    for line in _read(pid, "maps").splitlines():
        # address, permissions, offset, device, inode, path
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(prefix):
            yield int(fields[4])


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    """Empty when the process is gone, is not ours, or is a zombie."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
