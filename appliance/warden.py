"""The process that ends a box's tree when its supervisor dies without a word.

Run as `python -m appliance.warden MARK`, with the read end of the supervisor's pipe as standard input. The pipe closes
when the supervisor ends, however it ends; an orderly end writes a byte first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from appliance.process_tree import MARK, end_tree

ALL_WELL = b"."


class Warden:
    """The supervisor's side: starts the watching process and dismisses it."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "appliance.warden",
            self._mark,
            stdin=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    async def watch(self) -> None:
        """Start the warden again whenever it ends, until cancelled."""
        while self._process is not None:
            await self._process.wait()
            await self.start()

    async def dismiss(self) -> None:
        """The tree has ended in order: nothing is left to kill."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.write(ALL_WELL)
        self._process.stdin.close()
        await self._process.wait()
        self._process = None


def main(mark: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1) != ALL_WELL:
        end_tree(mark)


if __name__ == "__main__":
    main(sys.argv[1])
