from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.access_log import AccessLog, Served, whole_entries
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.trace import REGIONS, UNKNOWN_REGION
from appliance.conversation import Hints, Identity
from appliance.generation import FinishReason
from appliance.last_prompts import EndedRequest
from appliance.whatif_wire import entry_of, row_of
from tests.unit.cache.small_traces import access
from tests.unit.scripted_worker import ScriptedPrompt, conversation

if TYPE_CHECKING:
    from appliance.engine.prompt import Prompt

ACCESSES = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 3), max_size=6), st.booleans()), max_size=25
)


def served(session: str, keys: list[int], regions: bool = False, at: float = 0.0) -> Served:
    names = ["user"] * len(keys) if regions else None
    return Served(0, 4, access(session, at, keys, regions=names))


def facts(one: Served) -> tuple[str, float, list[int], list[int]]:
    found = one.access.regions
    regions = [UNKNOWN_REGION] * len(one.access.block_keys) if found is None else found.tolist()
    return one.access.session, one.access.arrival_seconds, one.access.block_keys.tolist(), regions


@given(ACCESSES, st.integers(1, 12), st.integers(1, 30))
def test_the_log_is_a_list_of_whole_accesses_of_which_the_oldest_go(
    asked: list[tuple[str, list[int], bool]], most_accesses: int, most_blocks: int
) -> None:
    log, plain = AccessLog(4, most_accesses, most_blocks), []
    for number, (session, keys, regions) in enumerate(asked):
        one = served(session, keys, regions, float(number))
        log.add(one)
        plain.append(one)
        kept = plain[len(plain) - len(log) :]
        assert [facts(each) for each in whole_entries(log.snapshot())] == [facts(each) for each in kept]
        assert len(log) <= most_accesses
        assert log.num_blocks == sum(len(entry.served.access.block_keys) for entry in log.snapshot())
        assert log.num_blocks <= most_blocks or len(log) == 1
    assert log.dropped + len(log) == len(asked)


@given(ACCESSES, ACCESSES)
def test_a_snapshot_stays_readable_while_the_log_forgets(
    first: list[tuple[str, list[int], bool]], then: list[tuple[str, list[int], bool]]
) -> None:
    log = AccessLog(4, most_accesses=8, most_blocks=1000)
    for number, (session, keys, regions) in enumerate(first):
        log.add(served(session, keys, regions, float(number)))
    snapshot, before = log.snapshot(), [facts(each) for each in whole_entries(log.snapshot())]
    for session, keys, regions in then:
        log.add(served(session, keys, regions, 99.0))
    assert [facts(each) for each in whole_entries(snapshot)] == before


@given(ACCESSES)
def test_what_is_sent_to_a_process_is_what_it_reads(asked: list[tuple[str, list[int], bool]]) -> None:
    log = AccessLog(4)
    for number, (session, keys, regions) in enumerate(asked):
        log.add(served(session, keys, regions, float(number)))
    sent = [entry_of(row_of(entry)) for entry in log.snapshot()]
    assert [facts(each) for each in whole_entries(sent)] == [facts(each) for each in whole_entries(log.snapshot())]


def test_a_turn_adds_only_what_is_new_in_it() -> None:
    log = AccessLog(4)
    for keys in ([1, 2], [1, 2, 3, 4], [1, 2, 3, 9]):
        log.add(served("a", keys))
    assert log.num_blocks == 2 + 2 + 1


def ended(session: str | None, finish: FinishReason | None = None) -> EndedRequest:
    regions = RegionMap([Span(0, 5, Region.SYSTEM), Span(5, 9, Region.USER)])
    prompt = cast("Prompt", ScriptedPrompt(list(range(9)), regions=regions))
    hints = Hints(session_final=True, tool_wait_seconds=3.0)
    asked = conversation(identity=Identity(session), hints=hints)
    return EndedRequest(asked, prompt, np.array([7, 2**64 - 1], np.uint64), 1, 1.0, 2.5, 4, 6, finish)


def test_a_request_that_has_ended_is_an_access_with_what_is_known_of_it() -> None:
    log = AccessLog(4)
    log.ended(ended("a", FinishReason.TOOL_CALLS))
    log.ended(ended(None))
    log.ended(ended(None))
    first, second, third = whole_entries(log.snapshot())
    assert (first.worker, first.read_tokens) == (1, 4)
    one = first.access
    assert (one.session, one.arrival_seconds, one.end_seconds) == ("a", 1.0, 2.5)
    assert (one.prompt_tokens, one.output_tokens, one.block_keys.tolist()) == (9, 6, [7, -1])
    assert (one.waits_for_tool, one.is_final, one.tool_wait_seconds) == (True, True, 3.0)
    assert one.regions is not None
    assert [REGIONS[region] for region in one.regions.tolist()] == [Region.SYSTEM, Region.SYSTEM]
    assert second.access.session != third.access.session
    assert not second.access.waits_for_tool
