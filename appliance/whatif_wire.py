"""What the box and the process that replays its record tell each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
from msgspec import Struct, msgpack

from appliance.access_log import Entry, Served
from appliance.cache.routed_replay import RoutedOutcome
from appliance.cache.trace import Access

LENGTH_BYTES: Final = 4
END: Final = bytes(LENGTH_BYTES)
"""All rows were sent."""


class Question(Struct, frozen=True):
    """The first frame. `policies` are names and texts, the proposed one first; `capacities` are blocks by worker.
    Requests that arrived from `measured_from` on count, in seconds of the record's clock."""

    block_tokens: int
    capacities: dict[int, int]
    policies: list[tuple[str, str]]
    fixed_seconds: float
    seconds_per_token: float
    measured_from: float


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One access; as `Entry`, with the arrays as bytes."""

    worker: int
    read_tokens: int
    session: str
    arrival: float
    end: float
    prompt: int
    output: int
    waits_for_tool: bool
    is_final: bool
    tool_wait: float | None
    kept: int
    keys: bytes
    regions: bytes


class Measured(Struct, frozen=True):
    """What counts of the record: so many of its requests, over so many seconds, and what the box itself read then."""

    requests: int
    warm_up_requests: int
    seconds: float
    prompt_tokens: int
    read_tokens: int


class Told(Struct, frozen=True, omit_defaults=True):
    """One line of the answer: progress, then the end."""

    done: int = 0
    of: int = 0
    measured: Measured | None = None
    outcomes: list[RoutedOutcome] | None = None
    error: str | None = None


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def row_of(entry: Entry) -> Row:
    access = entry.served.access
    regions = b"" if access.regions is None else access.regions.tobytes()
    return Row(
        entry.served.worker,
        entry.served.read_tokens,
        access.session,
        access.arrival_seconds,
        access.end_seconds,
        access.prompt_tokens,
        access.output_tokens,
        access.waits_for_tool,
        access.is_final,
        access.tool_wait_seconds,
        entry.kept,
        access.block_keys.tobytes(),
        regions,
    )


def entry_of(row: Row) -> Entry:
    access = Access(
        session=row.session,
        arrival_seconds=row.arrival,
        end_seconds=row.end,
        prompt_tokens=row.prompt,
        output_tokens=row.output,
        block_keys=np.frombuffer(row.keys, np.int64),
        waits_for_tool=row.waits_for_tool,
        is_final=row.is_final,
        tool_wait_seconds=row.tool_wait,
        regions=np.frombuffer(row.regions, np.uint8),
    )
    return Entry(Served(row.worker, row.read_tokens, access), row.kept)


def read_frames(stream: BinaryIO) -> Iterator[bytes]:
    """Until the end was told. Raises `EOFError` when the stream ends before."""
    while True:
        head = stream.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            raise EOFError("the question broke off")
        if head == END:
            return
        yield stream.read(int.from_bytes(head, "big"))


ROWS: Final = msgpack.Decoder(Row)
QUESTIONS: Final = msgpack.Decoder(Question)
