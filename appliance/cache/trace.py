"""Recorded accesses: who asked when for which blocks, and how the answer ended.

A trace is a table with one row a request, in the order of arrival, and one long array of block numbers. Blocks are
numbered from 0 in the order in which they were first asked for; equal numbers are equal blocks, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.region import Region

REGIONS = tuple(Region)
UNKNOWN_REGION = len(REGIONS)


@dataclass(frozen=True, slots=True)
class Access:
    """One request as a reader found it. Equal block keys are equal blocks."""

    session: str
    arrival_seconds: float
    end_seconds: float
    prompt_tokens: int
    output_tokens: int
    block_keys: NDArray[np.int64]
    waits_for_tool: bool
    is_final: bool = False
    tool_wait_seconds: float | None = None
    regions: NDArray[np.uint8] | None = None
    """The region of each block, as its place in `REGIONS`, where the recorder knew."""


@dataclass(frozen=True, slots=True)
class Trace:
    """All arrays but `blocks` and `regions` have one entry a request."""

    block_tokens: int
    session_names: tuple[str, ...]
    session: NDArray[np.int32]
    arrival_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    """When the response ended."""
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    waits_for_tool: NDArray[np.bool_]
    """The stop reason was a tool call."""
    is_final: NDArray[np.bool_]
    """The client said that the session ends with this response."""
    tool_wait_seconds: NDArray[np.float64]
    """The hint about the tool that follows; not a number where there was none."""
    after: NDArray[np.int32]
    """The request whose response must end before this one can arrive, as a row; -1 where it waits for nothing."""
    offsets: NDArray[np.int64]
    """Row `i` asks for `blocks[offsets[i]:offsets[i + 1]]`, from the start of the prompt."""
    blocks: NDArray[np.int32]
    regions: NDArray[np.uint8]
    """The region of each entry of `blocks`, as its place in `REGIONS`; `UNKNOWN_REGION` where it is not known."""
    block_count: int
    """Different blocks."""

    def __len__(self) -> int:
        return len(self.session)

    def blocks_of(self, request: int) -> NDArray[np.int32]:
        return self.blocks[self.offsets[request] : self.offsets[request + 1]]

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        count = len(self)
        per_request = (
            *(self.arrival_seconds, self.end_seconds, self.prompt_tokens, self.output_tokens),
            *(self.waits_for_tool, self.is_final, self.tool_wait_seconds, self.after, self.offsets[1:]),
        )
        laws = {
            "one entry a request": all(len(column) == count for column in per_request),
            "each block access has a region": int(self.offsets[-1]) == len(self.blocks) == len(self.regions),
            "requests are in the order of arrival": bool((np.diff(self.arrival_seconds) >= 0).all()),
            "a response ends after its request": bool((self.end_seconds >= self.arrival_seconds).all()),
            "a request waits for an earlier one": bool((self.after < np.arange(count)).all()),
            "every session has a name": count == 0 or int(self.session.max()) < len(self.session_names),
            "blocks are numbered densely": len(np.unique(self.blocks)) == self.block_count,
        }
        broken = [law for law, holds in laws.items() if not holds]
        if broken:
            raise IntegrityError(f"trace: not so: {', '.join(broken)}")


def build_trace(accesses: Iterable[Access], block_tokens: int) -> Trace:
    """Sorts by arrival, numbers sessions and blocks, and finds what each request waits for. Takes accesses of one
    session in any order."""
    ordered = sorted(accesses, key=lambda access: access.arrival_seconds)
    sessions = {name: number for number, name in enumerate(dict.fromkeys(access.session for access in ordered))}
    lengths = [len(access.block_keys) for access in ordered]
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    blocks, block_count = _number(np.concatenate([access.block_keys for access in ordered] or [np.zeros(0, np.int64)]))
    session = np.array([sessions[access.session] for access in ordered], dtype=np.int32)
    return Trace(
        block_tokens=block_tokens,
        session_names=tuple(sessions),
        session=session,
        arrival_seconds=np.array([access.arrival_seconds for access in ordered], dtype=np.float64),
        end_seconds=np.array([access.end_seconds for access in ordered], dtype=np.float64),
        prompt_tokens=np.array([access.prompt_tokens for access in ordered], dtype=np.int64),
        output_tokens=np.array([access.output_tokens for access in ordered], dtype=np.int64),
        waits_for_tool=np.array([access.waits_for_tool for access in ordered], dtype=np.bool_),
        is_final=np.array([access.is_final for access in ordered], dtype=np.bool_),
        tool_wait_seconds=np.array([_or_nan(access.tool_wait_seconds) for access in ordered], dtype=np.float64),
        after=_previous_of_session(session),
        offsets=offsets,
        blocks=blocks,
        regions=np.concatenate([_regions_of(access) for access in ordered] or [np.zeros(0, np.uint8)]),
        block_count=block_count,
    )


def _number(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Dense numbers in the order of first appearance, and how many there are."""
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    numbers = np.empty(len(firsts), dtype=np.int32)
    numbers[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.int32)
    return numbers[inverse], len(firsts)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _previous_of_session(session: NDArray[np.int32]) -> NDArray[np.int32]:
    latest: dict[int, int] = {}
    after = np.full(len(session), -1, dtype=np.int32)
    for request, number in enumerate(session.tolist()):
        after[request] = latest.get(number, -1)
        latest[number] = request
    return after


def _regions_of(access: Access) -> NDArray[np.uint8]:
    if access.regions is None:
        return np.full(len(access.block_keys), UNKNOWN_REGION, dtype=np.uint8)
    return access.regions
