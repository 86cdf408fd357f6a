"""The folder by which a running box is found: a lock, a description, a control socket, and what to clean after it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.errors import AlreadyRunning
from appliance.process_tree import remove_unused


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

    def acquire(self) -> None:
        """Take the folder. Raises `AlreadyRunning`, naming the box that holds it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(lock, attempts=10):
            os.close(lock)
            raise AlreadyRunning(
                f"A box is already running here ({_who(self.read())}).",
                hint="`dynamo-box up` attaches to it, `dynamo-box stop` ends it.",
            )
        self._lock = lock

    def release(self) -> None:
        """Give the folder back and remove what pointed at this box."""
        for name in ("box.json", "control.sock"):
            (self.folder / name).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def held(self) -> bool:
        """Whether a live box holds this folder."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _lock(lock, attempts=1)
        finally:
            os.close(lock)

    def write(self, box: BoxFile) -> None:
        self._write_atomically("box.json", json.dumps(asdict(box)))

    def read(self) -> BoxFile | None:
        """The running box's description; `None` before it has one."""
        try:
            return BoxFile(**json.loads((self.folder / "box.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def remember_shared_memory(self, paths: Iterable[Path]) -> None:
        """Write down what to remove if this box and its warden both die unheard."""
        self._write_atomically("shared-memory.json", json.dumps(sorted(map(str, paths))))

    def clean(self) -> list[Path]:
        """Remove shared memory that a dead box left. The lock must be held."""
        record = self.folder / "shared-memory.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            removed = remove_unused(Path(name) for name in json.loads(record.read_text()))
            record.unlink()
            return removed
        return []

    def _write_atomically(self, name: str, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(self.folder / name)


def _lock(descriptor: int, attempts: int) -> bool:
    """More than one attempt outlasts a `held` of another process, which takes the lock for a moment."""
    for attempt in range(attempts):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < attempts:
                time.sleep(0.02)
        else:
            return True
    return False


def _who(box: BoxFile | None) -> str:
    return "still starting" if box is None else f"pid {box.pid}, {box.endpoint}"
