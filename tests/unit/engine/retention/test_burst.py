"""A lead and its subagents, with the shipped policy's own plans, in a pool of forty blocks."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.conversation import Hints, Identity
from appliance.engine.retention.client import retention_hints
from appliance.retention import Retention, Subject
from tests.unit.engine.retention.pools import BLOCK_TOKENS, new_request, served

LEAD = range(13 * BLOCK_TOKENS)


class Agents:
    """Asks one after the other. What a session's blocks are worth when its request has ended, the pool hears only after
    `late` requests more: as from a box that tells an engine of it while that goes on."""

    def __init__(self, policy: str, late: int) -> None:
        self.cache = served(41)
        self._retention = Retention(load_policy(policy))
        self._late = late
        self._untold: deque[tuple[str, Any]] = deque()

    def ask(self, name: str, head: range, question: range, parent: str | None = None) -> None:
        end = len(head) + len(question)
        regions = RegionMap([Span(0, len(head), Region.SYSTEM), Span(len(head), end, Region.USER)])
        subject = Subject(Identity(name, parent_session_id=parent), "m", Hints(), regions, (), head=hash(head))
        request = new_request([*head, *question], session=name)
        request.kv_hints = retention_hints(self._retention.begin(subject), request.request_id)
        self.cache.serve(request)
        self._untold.append((name, self._retention.end(subject, "stop")))
        while len(self._untold) > self._late:
            self.cache.retention.requests.replan(*self._untold.popleft())

    def burst(self, kinds: int) -> None:
        for number in range(60):
            kind, task = 10_000 + 100 * (number % kinds), 50_000 + 100 * number
            self.ask(f"sub-{number}", range(kind, kind + 9), range(task, task + 12), parent="lead")


@pytest.mark.parametrize("late", [0, 20])
@pytest.mark.parametrize("kinds", [1, 60])
def test_a_leads_prompt_survives_a_burst_of_subagents_many_times_the_size_of_the_cache(kinds: int, late: int) -> None:
    agents = Agents("coding-agent", late)
    agents.ask("lead", LEAD[:40], LEAD[40:])
    agents.burst(kinds)
    assert agents.cache.found(LEAD) == len(LEAD)


@pytest.mark.parametrize("kinds", [1, 60])
def test_under_lru_a_leads_prompt_does_not(kinds: int) -> None:
    agents = Agents("lru", late=0)
    agents.ask("lead", LEAD[:40], LEAD[40:])
    agents.burst(kinds)
    assert agents.cache.found(LEAD) == 0


def test_the_system_text_of_subagents_of_one_kind_stays_while_they_come() -> None:
    agents = Agents("coding-agent", late=0)
    agents.burst(1)
    assert agents.cache.found(range(10_000, 10_009)) == 2 * BLOCK_TOKENS
