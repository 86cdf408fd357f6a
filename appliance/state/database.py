"""What the box remembers: a `Recorder` for the serving loop, and a way to ask for what was recorded.

One thread has the file. It writes twice a second, so a crash loses at most the last second; what it cannot write waits,
and what finds no room to wait is dropped and counted. Nothing here ever keeps the box from serving.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from appliance.errors import NotReady
from appliance.state.backlog import KINDS, Backlog, Entry, count_of
from appliance.state.batch import Batches
from appliance.state.engines import ReadSession, WriteSession
from appliance.state.facts import StateFacts
from appliance.state.faults import Fault, Unusable, fault_of
from appliance.state.keeping import Keeping, trim
from appliance.state.opening import OpenFile, open_file, set_aside
from appliance.state.reader import Reader

WRITE_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 5.0
TRIM_SECONDS: Final = 60.0
TRIM_AT_ONCE_SECONDS: Final = 0.05
SETTLE_SECONDS: Final = 1.0
"""How long a question waits for what was recorded before it."""
STOP_SECONDS: Final = 10.0
MOST_AT_ONCE: Final = 1000
ASKING_THREADS: Final = 2

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class Database:
    """The file at `path`, which this box alone writes."""

    def __init__(self, path: Path, keeping: Keeping, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._keeping = keeping
        self._clock = clock
        self._backlog = Backlog()
        self._file: OpenFile | None = None
        self._batches: Batches | None = None
        self._trouble: str | None = "it is not open yet"
        self._is_damaged = False
        self._written: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._trimming: Iterator[int] = iter(())
        self._trimmed_at = float("-inf")
        self._settles: deque[threading.Event] = deque()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)
        self._asking = ThreadPoolExecutor(ASKING_THREADS, "state reader")
        self._file_lock = threading.Lock()

    def record(self, record: Entry) -> None:
        """From the serving loop: an append. Many evictions at once are one `ManyEvictions`."""
        self._backlog.add(record)

    def start(self) -> list[str]:
        """Opens the file and begins to write; blocks. What an operator should hear of it; never raises for the file's
        sake: what cannot be opened now is tried again."""
        words = []
        try:
            words = self._open()
            self._trouble = None
        except Unusable as error:
            self._trouble = error.message
            words = [f"{error.message}: nothing is remembered until this is mended"]
        except Exception as error:
            log.exception("%s could not be opened", self.path)
            self._trouble = f"{self.path} could not be opened: {error}"
        self._thread.start()
        return words

    def stop(self) -> None:
        """Writes what waits, if the file takes it, and closes; blocks. Idempotent."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._asking.shutdown(cancel_futures=True)

    async def ask(self, read: Callable[[Reader], Answer]) -> Answer:
        """What `read` makes of all that was recorded until now, in a thread. Raises `NotReady` when the file cannot be
        read."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, self.read, read)

    def read(self, read: Callable[[Reader], Answer]) -> Answer:
        """`ask` for a thread."""
        self.settle()
        with self._file_lock:
            file = self._file
        if file is None:
            raise NotReady(f"nothing is remembered now: {self._trouble}")
        try:
            with ReadSession(file.reading) as session, session.begin():
                return read(Reader(session))
        except SQLAlchemyError as error:
            fault = fault_of(error)
            if fault is Fault.REFUSED:
                raise
            if fault is Fault.DAMAGED and self._file is file:
                self._is_damaged = True
            raise NotReady(f"{self.path} cannot be read: {fault.value}") from error

    def settle(self, timeout_seconds: float = SETTLE_SECONDS) -> bool:
        """Wait in a thread until all that was recorded is in the file; `False` when that takes longer."""
        if self._trouble is not None or not self._thread.is_alive():
            return not len(self._backlog)
        written = threading.Event()
        self._settles.append(written)
        self._wake.set()
        return written.wait(timeout_seconds)

    def facts(self) -> StateFacts:
        try:
            size = sum(self.path.with_name(self.path.name + end).stat().st_size for end in ("", "-wal"))
        except OSError:
            size = None
        return StateFacts(
            self.path,
            size,
            len(self._backlog),
            self._written.copy(),
            self._backlog.dropped.copy(),
            self._refused.copy(),
            self._trouble,
        )

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._wake.wait(RETRY_SECONDS if self._trouble is not None else WRITE_SECONDS)
                self._wake.clear()
                self._turn()
            self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        settles = [self._settles.popleft() for _ in range(len(self._settles))]
        try:
            if self._is_damaged:
                self._replace()
            if self._file is None:
                for words in self._open():
                    log.warning("%s", words)
            self._write_all()
            self._trim()
        except Unusable as error:
            self._in_trouble(error.message)
        except SQLAlchemyError as error:
            self._failed(error)
        except Exception:
            log.exception("what the box remembers could not be written")
            self._in_trouble(f"{self.path} could not be written")
        if self._is_damaged and self._trouble is None:
            # The next turn, which comes at once, has another file.
            self._settles.extend(settles)
            self._wake.set()
            return
        for settle in settles:
            settle.set()

    def _open(self) -> list[str]:
        file = open_file(self.path, self._clock)
        try:
            with WriteSession(file.writing) as session, session.begin():
                self._batches = Batches(session)
        except BaseException:
            file.close()
            raise
        with self._file_lock:
            self._file = file
        return file.words

    def _close(self) -> None:
        with self._file_lock:
            file, self._file, self._batches = self._file, None, None
        self._trimming = iter(())
        if file is not None:
            file.close()

    def _replace(self) -> None:
        """The file is damaged: another one takes its place. Raises `Unusable`."""
        self._close()
        beside = set_aside(self.path, "damaged", self._clock())
        self._is_damaged = False
        log.error("%s is damaged: it is kept as %s, and a new one is begun", self.path, beside)

    def _write_all(self) -> None:
        while entries := self._backlog.oldest(MOST_AT_ONCE):
            self._write(entries)
        if self._trouble is not None:
            log.warning("%s is written again", self.path)
        self._trouble = None

    def _write(self, entries: list[Entry]) -> None:
        file, batches = self._file, self._batches
        if file is None or batches is None:
            raise Unusable(f"{self.path} is not open")
        try:
            with WriteSession(file.writing) as session, session.begin():
                batches.write(session, entries)
        except Exception as error:
            if fault_of(error) is not Fault.REFUSED:
                raise
            if len(entries) > 1:
                # One of them is what the file does not take: the others shall not suffer for it.
                for entry in entries:
                    self._write([entry])
                return
            self._refused[KINDS[type(entries[0])].name] += count_of(entries[0])
            log.warning("a record is not written: %s", error)
        else:
            batches.committed()
            for entry in entries:
                self._written[KINDS[type(entry)].name] += count_of(entry)
        self._backlog.done(entries)

    def _trim(self) -> None:
        """For a little while; a round begins once a minute."""
        if self._file is None or self._is_stopping:
            return
        began = time.monotonic()
        if began - self._trimmed_at >= TRIM_SECONDS:
            self._trimmed_at = began
            self._trimming = trim(self._file.writing, self._keeping, self._clock())
        while time.monotonic() - began < TRIM_AT_ONCE_SECONDS and next(self._trimming, None) is not None:
            pass

    def _failed(self, error: SQLAlchemyError) -> None:
        fault = fault_of(error)
        if fault is Fault.DAMAGED:
            self._is_damaged = True
            return
        self._trimming = iter(())
        if self._file is not None and fault is not Fault.LOCKED:
            # After an error of the disk the connection is not to be trusted; another is made with the next try.
            self._file.writing.dispose()
        self._in_trouble(f"{self.path} cannot be written: {fault.value}")

    def _in_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("%s; until this is mended nothing more is remembered than waits in memory", trouble)
        self._trouble = trouble
