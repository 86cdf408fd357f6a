"""The keeper as a child of the box: started, told to end, reaped."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Final

STOP_SECONDS: Final = 5.0


async def start_keeper() -> asyncio.subprocess.Process:
    """Who is cancelled meanwhile ends what was started: nobody else would know of it."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "appliance.keeper",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await end_keeper(await starting)
        raise


async def end_keeper(process: asyncio.subprocess.Process) -> None:
    """Told by its closed input; reaped either way."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # One that the kernel holds in a read of a dead disk goes when the kernel lets go; the box does not wait for it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
