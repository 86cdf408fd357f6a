"""The folder by which a running box is found: a lock, a description, a control socket, and what to clean after it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.errors import AlreadyRunning
from appliance.process_tree import end_tree, remove_unused


@dataclass(frozen=True, slots=True)
class BoxFile:
    """What a running box says about itself. `tree` marks its processes."""

    pid: int
    tree: str
    endpoint: str
    model: str
    log: str | None
    started_at: float


class Runtime:
    """One box at a time may hold a runtime folder; the kernel drops its lock however it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "control.sock"

    @property
    def _description(self) -> Path:
        return self.folder / "box.json"

    @property
    def _memory_record(self) -> Path:
        return self.folder / "shared-memory.json"

    def acquire(self) -> None:
        """Take the folder. Raises `AlreadyRunning`, naming the box that holds it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(lock, fcntl.LOCK_EX, attempts=10):
            os.close(lock)
            raise AlreadyRunning(
                f"A box is already running here ({_who(self.read())}).",
                hint="`dynamo-box up` attaches to it, `dynamo-box stop` ends it.",
            )
        self._lock = lock

    def release(self) -> None:
        """Give the folder back and remove what pointed at this box. No-op when it was not taken."""
        if self._lock is not None:
            self._forget()
            os.close(self._lock)
            self._lock = None

    def held(self) -> bool:
        """Whether a live box holds this folder. Asking at the same time elsewhere does not count."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _lock(lock, fcntl.LOCK_SH, attempts=1)
        finally:
            os.close(lock)

    def write(self, box: BoxFile) -> None:
        _write_atomically(self._description, json.dumps(asdict(box)))

    def read(self) -> BoxFile | None:
        """The running box's description; `None` before it has one."""
        try:
            return BoxFile(**json.loads(self._description.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def remember_shared_memory(self, paths: Iterable[Path]) -> None:
        """Write down what to remove if nobody is left to do it: box, warden and resource trackers all killed."""
        _write_atomically(self._memory_record, json.dumps(sorted(map(str, paths))))

    def clean(self) -> list[Path]:
        """End what a dead box left running and remove its files and shared memory; returns the latter.

        The lock must be held.
        """
        removed: list[Path] = []
        if (dead := self.read()) is not None:
            removed += end_tree(dead.tree)
        with contextlib.suppress(FileNotFoundError, ValueError):
            removed += remove_unused(Path(name) for name in json.loads(self._memory_record.read_text()))
        self._memory_record.unlink(missing_ok=True)
        self._forget()
        return removed

    def _forget(self) -> None:
        """Remove what points at a box."""
        for path in (self._description, self.socket):
            path.unlink(missing_ok=True)


def _write_atomically(path: Path, text: str) -> None:
    """Only the holder of the lock writes, so one name for the unfinished file is enough."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.touch(0o600)
    with unfinished.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def _lock(descriptor: int, kind: int, attempts: int) -> bool:
    """More than one attempt outlasts a `held` of another process, which takes the lock for a moment."""
    for attempt in range(attempts):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < attempts:
                time.sleep(0.02)
        else:
            return True
    return False


def _who(box: BoxFile | None) -> str:
    return "still starting" if box is None else f"pid {box.pid}, {box.endpoint}"
