"""`python -m appliance.keeper`, started by the supervisor, which says first of all what to keep; see `wire.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import Final

import msgspec

from appliance.cache.slab.file import Progress
from appliance.errors import BoxError
from appliance.keeper.keeper import Keeper
from appliance.keeper.opening import open_keeper
from appliance.keeper.wire import (
    Asked,
    Checking,
    Counted,
    Flush,
    KeeperSettings,
    Map,
    Opening,
    Promote,
    Promoted,
    Verify,
    frame,
    read_frame,
)

STATS_SECONDS: Final = 1.0
MAX_PROMOTIONS: Final = 64
"""Under way at a time; a further one is answered at once, with nothing."""


class Line:
    """To the supervisor. One that does not read holds the keeper up, never the other way round."""

    def __init__(self, file: int) -> None:
        self._file = file

    def say(self, message: msgspec.Struct) -> None:
        data = frame(message)
        while data:
            data = data[os.write(self._file, data) :]


async def serve(keeper: Keeper, reader: asyncio.StreamReader, line: Line) -> None:
    """Until the supervisor's end of the pipe closes."""
    running = [asyncio.create_task(keeper.run()), asyncio.create_task(_tell(keeper, line))]
    answering: set[asyncio.Task[None]] = set()
    asked = asyncio.create_task(read_frame(reader, Asked))
    try:
        while True:
            await asyncio.wait({asked, *running}, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
            if not asked.done():
                continue
            message = asked.result()
            if message is None:
                return
            if len(answering) >= MAX_PROMOTIONS and isinstance(message, Promote):
                line.say(Promoted(message.number, b"", is_last=True))
            else:
                task = asyncio.create_task(_answer(keeper, message, line))
                answering.add(task)
                task.add_done_callback(answering.discard)
            asked = asyncio.create_task(read_frame(reader, Asked))
    finally:
        for task in (asked, *running, *answering):
            task.cancel()
        await asyncio.gather(asked, *running, *answering, return_exceptions=True)


async def _answer(keeper: Keeper, message: Asked, line: Line) -> None:
    match message:
        case Promote(number, keys, seconds):
            async for tiers in keeper.promote(keys, seconds):
                line.say(Promoted(number, tiers, is_last=False))
            line.say(Promoted(number, b"", is_last=True))
        case Verify(number):
            line.say(Counted(number, *await keeper.upkeep.verify(_checking(number, line))))
        case Flush(number):
            line.say(Counted(number, await keeper.upkeep.flush(), 0))
        case Map(number, cells):
            line.say(keeper.map(number, cells))


def _checking(number: int, line: Line) -> Progress:
    """Says how far it is, once a second."""
    said = time.monotonic()

    def progress(seen: int, blocks: int) -> None:
        nonlocal said
        if time.monotonic() >= said + STATS_SECONDS:
            said = time.monotonic()
            line.say(Checking(number, seen, blocks))

    return progress


async def _tell(keeper: Keeper, line: Line) -> None:
    while True:
        for moved in keeper.moved():
            line.say(moved)
        line.say(keeper.stats)
        await asyncio.sleep(STATS_SECONDS)


async def _main(line: Line) -> None:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = await read_frame(reader, KeeperSettings)
    if settings is None:
        return
    keeper = open_keeper(settings, lambda seen, rows: line.say(Opening(seen, rows)))
    try:
        await serve(keeper, reader, line)
    finally:
        keeper.close()


def main() -> int:
    """The exit status. What is wrong is said on standard error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        with contextlib.suppress(BrokenPipeError):
            asyncio.run(_main(Line(sys.stdout.fileno())))
    except BoxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
