"""Runs the process that replays a record, and sees to it that nothing is left of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from appliance.access_log import Entry
from appliance.errors import BoxError
from appliance.whatif_wire import END, Question, Told, frame, row_of

MODULE: Final = "appliance.whatif_process"
ROWS_AT_ONCE: Final = 64
"""Written down in one go: it holds the loop, for about 0.2 ms."""
MOST_LINE_BYTES: Final = 1 << 24
TELLING: Final = msgspec.json.Decoder(Told)


class Broken(BoxError):
    """The process ended before it had answered."""


async def run_whatif(question: Question, record: Sequence[Entry], hear: Callable[[Told], None]) -> None:
    """`hear` is told of progress and of the end. Raises `Broken`. Who is cancelled ends the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        MODULE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_LINE_BYTES,
    )
    sending = asyncio.create_task(_send(process, question, record))
    try:
        is_answered = await _listen(process, hear)
        await process.wait()
    finally:
        sending.cancel()
        if process.returncode is None:
            process.kill()
        await asyncio.gather(sending, process.wait(), return_exceptions=True)
    if not is_answered:
        raise Broken(f"the replay ended with status {process.returncode} before it had answered")


async def _send(process: asyncio.subprocess.Process, question: Question, record: Sequence[Entry]) -> None:
    if process.stdin is None:
        raise TypeError("a process without standard input")
    with suppress(ConnectionError):
        process.stdin.write(frame(msgspec.msgpack.encode(question)))
        for first in range(0, len(record), ROWS_AT_ONCE):
            rows = map(row_of, record[first : first + ROWS_AT_ONCE])
            process.stdin.write(b"".join(frame(msgspec.msgpack.encode(row)) for row in rows))
            await process.stdin.drain()
            await asyncio.sleep(0)
        process.stdin.write(END)
        await process.stdin.drain()


async def _listen(process: asyncio.subprocess.Process, hear: Callable[[Told], None]) -> bool:
    """Whether the answer came."""
    if process.stdout is None:
        raise TypeError("a process without standard output")
    is_answered = False
    async for line in process.stdout:
        told = TELLING.decode(line)
        is_answered = is_answered or told.outcomes is not None or told.error is not None
        hear(told)
    return is_answered
