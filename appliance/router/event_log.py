"""A bounded file of the event batches that were applied, to apply them again.

Each record is a msgpack array `[worker, number, payload]`, its length in 4 bytes before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import msgspec

from appliance.router.mirror import WorkerMirror
from appliance.router.wire_events import decode_batch

_LENGTH_BYTES = 4


class Record(NamedTuple):
    """One batch as it came: whose, the sender's number for it, and what it said."""

    worker: int
    seq: int
    payload: bytes


class EventLog:
    """Writes records to a new file at `path`, which replaces an old one.

    Keeps the first `max_bytes`: they begin with fresh engines, so they can be replayed from nothing. Once a record did
    not fit, none is written any more, and all are counted in `dropped_batches`.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.written_bytes = 0
        self.dropped_batches = 0
        self._max_bytes = max_bytes
        self._file: BinaryIO = path.open("wb")

    def record(self, worker: int, seq: int, payload: bytes) -> None:
        """Raises `OSError` when the disk does. May be buffered until `close()`."""
        encoded = msgspec.msgpack.encode(Record(worker, seq, payload))
        size_bytes = _LENGTH_BYTES + len(encoded)
        if self.dropped_batches or self.written_bytes + size_bytes > self._max_bytes:
            self.dropped_batches += 1
            return
        self._file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
        self.written_bytes += size_bytes

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log(path: Path) -> Iterator[Record]:
    """All whole records in order; one cut short by a crash ends the log."""
    decoder = msgspec.msgpack.Decoder(Record)
    with path.open("rb") as file:
        while len(length := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
            encoded = file.read(size_bytes := int.from_bytes(length, "little"))
            if len(encoded) < size_bytes:
                return
            yield decoder.decode(encoded)


def replay(path: Path, mirrors: Mapping[int, WorkerMirror]) -> int:
    """Apply the records of those workers that are in `mirrors`, fresh ones; returns how many batches that were.

    A number that does not follow the one before it resets the mirror, as a lost batch or a new engine did at the time.
    """
    next_seq = dict.fromkeys(mirrors, 0)
    applied = 0
    for worker, seq, payload in read_log(path):
        if worker not in mirrors:
            continue
        if seq != next_seq[worker]:
            mirrors[worker].reset(engine_is_empty=seq == 0)
        next_seq[worker] = seq + 1
        mirrors[worker].apply(decode_batch(payload))
        applied += 1
    return applied
