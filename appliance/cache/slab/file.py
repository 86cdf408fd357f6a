"""A slab: the file, its rows read and written. It knows nothing of which row is whose: that is the index's.

All calls but `scan` and `close` may come from many threads at once, on different rows.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from appliance.cache.errors import CacheError, LayoutMismatch
from appliance.cache.slab.layout import (
    IDENTITY_BYTES,
    PAGE,
    ROW_HEADER,
    Facts,
    FileHeader,
    Records,
    Shape,
    decode_file,
    decode_row,
    encode_file,
    encode_row,
    payload_digest,
)

SCANNERS: Final = 16
"""Headers read at once when a slab is opened."""
_SCAN_ROWS: Final = 1024

Progress = Callable[[int, int], None]
"""Rows seen so far, and all of them."""


class Slab:
    """An open slab. `opened` says in a sentence what was found there, `is_kept` whether its rows may hold anything,
    `is_direct` whether reads and writes go past the page cache (not every filesystem can)."""

    def __init__(self, path: Path, file: int, header: FileHeader, opened: str, *, is_kept: bool) -> None:
        self.path = path
        self.shape = header.shape
        self.opened = opened
        self.is_kept = is_kept
        self.is_direct = bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT)
        self._secret = header.secret
        self._file = file
        self._pages = threading.local()

    @classmethod
    def open(cls, path: Path, shape: Shape) -> Self:
        """The slab that is there, made larger or smaller where it has another number of rows; a new one where there is
        none, or one of other rows or another identity. The whole file is allocated.

        Raises `CacheError` when another process has it, or there is no room; nothing is left of a new one then.
        """
        if (
            shape.row_bytes % PAGE
            or shape.row_bytes <= 0
            or shape.num_rows <= 0
            or len(shape.identity) != IDENTITY_BYTES
        ):
            raise LayoutMismatch(f"{path}: no slab can have {shape.num_rows} rows of {shape.row_bytes} bytes")
        file, is_new = _opened(path), False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found, opened = _found(file, shape)
            is_new = os.fstat(file).st_size == 0
            header = FileHeader(shape, found.secret if found is not None else secrets.token_bytes(32))
            _allocate(file, shape.num_bytes)
            if found is None or found.shape != shape:
                _write_whole(file, [_page(encode_file(header))], 0)
                os.fsync(file)
            return cls(path, file, header, f"{path}: {opened}", is_kept=found is not None)
        except BlockingIOError:
            os.close(file)
            raise CacheError(f"{path}: another process has this slab open") from None
        except OSError as error:
            if is_new:
                path.unlink(missing_ok=True)
            os.close(file)
            gibibytes = shape.num_bytes / 2**30
            raise CacheError(f"{path}: no slab of {gibibytes:.1f} GiB can be here: {error.strerror}") from error

    def write(self, row: int, facts: Facts, payload: Any) -> None:
        """One block's, header and payload in one write. `payload` has `row_bytes`, begins at a page of memory, and must
        not change meanwhile.

        Raises `OSError`; the row then holds nothing, or what it held before, or what was to be written.
        """
        page = self._page()
        page[: ROW_HEADER.itemsize] = encode_row(row, facts, payload, self._secret)
        _write_whole(self._file, [page, payload], self.shape.offset(row))

    def read(self, row: int, key: Any, into: Any) -> bool:
        """Read the row's payload; `into` as `payload` in `write`. Whether it is the block of this key, to the last
        bit: what is in `into` otherwise is of no use. Raises `OSError` when the disk does not give it."""
        page = self._page()
        length = PAGE + self.shape.row_bytes
        count = os.preadv(self._file, [page, into], self.shape.offset(row))
        if count != length:
            raise OSError(errno.EIO, f"{self.path}: row {row} gave {count} of {length} bytes")
        record = decode_row(page, row, self._secret)
        if record is None or record["payload_bytes"] != self.shape.row_bytes or (record["key"] != key).any():
            return False
        return bool(record["payload_digest"].tobytes() == payload_digest(into))

    def erase(self, row: int) -> None:
        """The row holds nothing, the next time it is opened too. Raises `OSError`."""
        page = self._page()
        page[: ROW_HEADER.itemsize] = bytes(ROW_HEADER.itemsize)
        _write_whole(self._file, [page], self.shape.offset(row))

    def scan(self, progress: Progress = lambda _seen, _all: None) -> Records:
        """The headers of all rows that were written whole, in no order. A payload is not looked at before it is read;
        a header that cannot be read is none."""
        if not self.is_kept:
            return np.empty(0, ROW_HEADER)
        found: list[Any] = []
        starts = range(0, self.shape.num_rows, _SCAN_ROWS)
        with ThreadPoolExecutor(SCANNERS, "slab-scan") as pool:
            for start, records in zip(starts, pool.map(self._scan_from, starts), strict=True):
                found += records
                progress(min(start + _SCAN_ROWS, self.shape.num_rows), self.shape.num_rows)
        return np.array(found, ROW_HEADER)

    def close(self) -> None:
        """When nothing is under way any more. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _scan_from(self, start: int) -> list[Any]:
        return list(self._headers(range(start, min(start + _SCAN_ROWS, self.shape.num_rows))))

    def _headers(self, rows: range) -> Iterator[Any]:
        page = self._page()
        for row in rows:
            try:
                count = os.preadv(self._file, [page], self.shape.offset(row))
            except OSError:
                continue
            record = decode_row(page, row, self._secret) if count == PAGE else None
            if record is not None:
                yield record

    def _page(self) -> mmap.mmap:
        """This thread's own."""
        if not hasattr(self._pages, "page"):
            self._pages.page = mmap.mmap(-1, PAGE)
        page: mmap.mmap = self._pages.page
        return page


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags | os.O_DIRECT, 0o600)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return os.open(path, flags, 0o600)
    except OSError as error:
        raise CacheError(f"{path}: no slab can be here: {error.strerror}") from error


def _found(file: int, shape: Shape) -> tuple[FileHeader | None, str]:
    """What is there that can be kept, and what to say of it."""
    page = mmap.mmap(-1, PAGE)
    count = os.preadv(file, [page], 0)
    if count == 0:
        return None, "a new slab"
    found = decode_file(page[:count])
    if found is None:
        return None, "what was here is no slab of this version: made anew"
    if found.shape.row_bytes != shape.row_bytes:
        return None, f"rows were of {found.shape.row_bytes} bytes, {shape.row_bytes} are needed: made anew"
    if found.shape.identity != shape.identity:
        return None, "the blocks were of another model or configuration: made anew"
    if found.shape.num_rows != shape.num_rows:
        return found, f"kept, with {shape.num_rows} rows instead of {found.shape.num_rows}"
    return found, f"kept, {shape.num_rows} rows"


def _allocate(file: int, num_bytes: int) -> None:
    """Space that is not there now is not asked for later. What the file had keeps its place."""
    os.posix_fallocate(file, 0, num_bytes)
    os.ftruncate(file, num_bytes)


def _page(content: bytes) -> mmap.mmap:
    page = mmap.mmap(-1, PAGE)
    page[:] = content
    return page


def _write_whole(file: int, parts: list[Any], offset: int) -> None:
    length = sum(len(part) for part in parts)
    count = os.pwritev(file, parts, offset)
    if count != length:
        raise OSError(errno.EIO, f"{count} of {length} bytes were written")
