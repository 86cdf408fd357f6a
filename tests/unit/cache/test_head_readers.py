from __future__ import annotations

import numpy as np

from appliance.cache.head_readers import HeadReaders
from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, Access, Trace, build_trace


def code(region: Region) -> int:
    return REGIONS.index(region)


def asked(number: int, session: str, keys: list[int], regions: list[Region]) -> Access:
    return Access(
        session=session,
        arrival_seconds=float(number),
        end_seconds=float(number),
        prompt_tokens=64 * len(keys),
        output_tokens=1,
        block_keys=np.array(keys, dtype=np.int64),
        waits_for_tool=False,
        regions=np.array([code(region) for region in regions], dtype=np.uint8),
    )


def shared(trace: Trace) -> list[bool]:
    """After each request."""
    readers, found = HeadReaders(trace), []
    for request in range(len(trace)):
        readers.read(request)
        found.append(readers.are_several(request))
    return found


def test_a_head_is_shared_once_another_session_has_read_it_though_its_last_block_differs() -> None:
    regions = [Region.TOOLS, Region.SYSTEM, Region.SYSTEM, Region.USER]
    one, two = ("one", [1, 2, 3, 4]), ("two", [1, 2, 9, 8])
    trace = build_trace([asked(number, *who, regions) for number, who in enumerate([one, one, two, one])], 64)
    assert shared(trace) == [False, False, True, True]


def test_heads_of_one_session_each_and_prompts_without_a_head_are_not_shared() -> None:
    head, none = [Region.SYSTEM, Region.SYSTEM], [Region.USER, Region.SYSTEM]
    accesses = [asked(0, "one", [1, 2], head), asked(1, "two", [5, 2], head)]
    accesses += [asked(2, "three", [7, 8], none), asked(3, "four", [7, 8], none)]
    assert shared(build_trace(accesses, 64)) == [False] * 4


def test_a_head_of_one_block_is_shared_when_it_is_the_same() -> None:
    accesses = [asked(number, name, [1, number + 2], [Region.SYSTEM, Region.USER]) for number, name in enumerate("ab")]
    assert shared(build_trace(accesses, 64)) == [False, True]
