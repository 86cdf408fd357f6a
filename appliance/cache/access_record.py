"""The box's own record of accesses: JSON lines, plain or gzipped, small because a turn repeats the one before it.

The first line is `{"format": "dynamo-box-accesses", "version": 1, "block_tokens": 64}`. Then one line a request, in the
order of arrival:

| key | what |
|---|---|
| `session` | its name |
| `arrival`, `end` | seconds of one clock: request in, response out |
| `prompt`, `output` | tokens |
| `keep` | how many blocks at its start this prompt has in common with the session's previous line (0 if left out) |
| `add` | the blocks after those, as `[first, count]` runs of block numbers |
| `regions` | the regions of the added blocks, as `[name, count]` runs; a block has the region of its first token, `null` for not known; those after the last run have none; left out if no region is known |
| `stop` | `tool` if the response ended in a tool call; left out otherwise |
| `final` | `true` if the client said that the session is over; left out otherwise |
| `tool_wait` | seconds the client expects the tool to take; left out if it did not say |

Equal block numbers are equal blocks. A recorder numbers blocks as it first meets them, so that new ones form one run.
"""  # noqa: E501 - a row of a table cannot be wrapped

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import TraceError
from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, UNKNOWN_REGION, Access

FORMAT = "dynamo-box-accesses"
VERSION = 1


class _Prompt(NamedTuple):
    """A session's latest prompt: what the next line of it is told against."""

    keys: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    regions: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)


def read_accesses(path: Path, lines: Iterable[str]) -> tuple[int, list[Access]]:
    """Block tokens and accesses. `path` is only named in errors. Raises `TraceError` with the line."""
    previous: dict[str, _Prompt] = {}
    accesses: list[Access] = []
    block_tokens = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if number == 1:
                block_tokens = _read_header(record)
            else:
                accesses.append(_read_access(record, previous))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{path}:{number}: not an access record: {type(error).__name__}: {error}") from error
    return block_tokens, accesses


def write_accesses(accesses: Iterable[Access], block_tokens: int) -> Iterator[str]:
    """The lines of a record, without line ends. Accesses come in the order of arrival, with small block keys."""
    yield json.dumps({"format": FORMAT, "version": VERSION, "block_tokens": block_tokens})
    previous: dict[str, _Prompt] = {}
    for access in accesses:
        before = previous.get(access.session, _Prompt())
        prompt = previous[access.session] = _Prompt(access.block_keys, _regions_or_unknown(access))
        yield json.dumps(_to_record(access, prompt, _shared_blocks(prompt, before)), separators=(",", ":"))


def _read_header(record: Any) -> int:
    if record["version"] != VERSION:
        raise ValueError(f"version {record['version']}; this program reads {VERSION}")
    if record["block_tokens"] <= 0:
        raise ValueError(f"block_tokens {record['block_tokens']} is not positive")
    return int(record["block_tokens"])


def _read_access(record: Any, previous: dict[str, _Prompt]) -> Access:
    session, kept = record["session"], record.get("keep", 0)
    before = previous.get(session, _Prompt())
    if not 0 <= kept <= len(before.keys):
        raise ValueError(f"keep is {kept}, and the session's previous prompt has {len(before.keys)} blocks")
    if record["end"] < record["arrival"]:
        raise ValueError(f"end {record['end']} is before arrival {record['arrival']}")
    added = [np.arange(first, first + count, dtype=np.int64) for first, count in record.get("add", [])]
    keys = np.concatenate([before.keys[:kept], *added])
    regions = np.concatenate([before.regions[:kept], _read_regions(record.get("regions", []), len(keys) - kept)])
    previous[session] = _Prompt(keys, regions)
    return Access(
        session=session,
        arrival_seconds=record["arrival"],
        end_seconds=record["end"],
        prompt_tokens=record["prompt"],
        output_tokens=record["output"],
        block_keys=keys,
        waits_for_tool=record.get("stop") == "tool",
        is_final=record.get("final", False),
        tool_wait_seconds=record.get("tool_wait"),
        regions=regions if (regions != UNKNOWN_REGION).any() else None,
    )


def _read_regions(runs: Sequence[tuple[str | None, int]], length: int) -> NDArray[np.uint8]:
    numbers = [UNKNOWN_REGION if name is None else REGIONS.index(Region(name)) for name, _ in runs]
    regions = np.repeat(np.array(numbers, dtype=np.uint8), [count for _, count in runs])
    if len(regions) > length:
        raise ValueError(f"regions of {len(regions)} blocks, and {length} are added")
    return np.pad(regions, (0, length - len(regions)), constant_values=UNKNOWN_REGION)


def _regions_or_unknown(access: Access) -> NDArray[np.uint8]:
    if access.regions is None:
        return np.full(len(access.block_keys), UNKNOWN_REGION, dtype=np.uint8)
    return access.regions


def _shared_blocks(prompt: _Prompt, before: _Prompt) -> int:
    shared = min(len(prompt.keys), len(before.keys))
    is_other = (prompt.keys[:shared] != before.keys[:shared]) | (prompt.regions[:shared] != before.regions[:shared])
    return int(np.argmax(is_other)) if is_other.any() else shared


def _to_record(access: Access, prompt: _Prompt, kept: int) -> dict[str, Any]:
    optional = {
        "regions": _named_runs(prompt.regions[kept:]),
        "stop": "tool" if access.waits_for_tool else None,
        "final": access.is_final or None,
        "tool_wait": access.tool_wait_seconds,
    }
    return {
        "session": access.session,
        "arrival": access.arrival_seconds,
        "end": access.end_seconds,
        "prompt": access.prompt_tokens,
        "output": access.output_tokens,
        "keep": kept,
        "add": _number_runs(prompt.keys[kept:]),
    } | {key: value for key, value in optional.items() if value is not None}


def _named_runs(regions: NDArray[np.uint8]) -> list[tuple[str | None, int]] | None:
    if (regions == UNKNOWN_REGION).all():
        return None
    return [
        (None if region == UNKNOWN_REGION else REGIONS[region].value, count) for region, count in region_runs(regions)
    ]


def region_runs(regions: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Equal neighbours as (region, count)."""
    return _runs(regions, np.diff(regions) != 0)


def _number_runs(keys: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Consecutive numbers as (first, count)."""
    return _runs(keys, np.diff(keys) != 1)


def _runs(values: NDArray[Any], breaks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    if len(values) == 0:
        return []
    starts = np.flatnonzero(np.concatenate(([True], breaks)))
    counts = np.diff(np.append(starts, len(values)))
    return list(zip(values[starts].tolist(), counts.tolist(), strict=True))
