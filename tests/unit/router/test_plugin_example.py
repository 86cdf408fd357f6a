"""The scorer in docs/examples, loaded as an installed plugin would be."""

from __future__ import annotations

import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from random import Random
from typing import Any

import pytest

from appliance.router.index import PrefixIndex
from appliance.router.router import Router, RoutingPolicy
from appliance.router.scorers import GROUP, load_scorer
from appliance.router.scoring import Scorer, expected_cost
from tests.unit.router.prospects import prospect

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return load_scorer("night_shift", [EntryPoint("night_shift", "night_shift_scorer:NightShift", GROUP)])


def at(scorer: Any, hour: int) -> Scorer:
    made: Scorer = type(scorer)(lambda: time.struct_time((2026, 1, 1, hour, 0, 0, 3, 1, 0)))
    return made


def test_the_example_of_the_documentation_prices_a_worker_by_the_time_of_day(scorer: Scorer) -> None:
    half_held = prospect(100, worker=1, overlap=50)
    assert at(scorer, 12)(half_held).other_seconds == 1.0
    assert at(scorer, 23)(half_held) == expected_cost(half_held)
    assert at(scorer, 12)(prospect(100)) == expected_cost(prospect(100))


def test_a_router_goes_by_it(scorer: Scorer) -> None:
    for hour, workers in ((12, {0}), (23, {0, 1})):
        router = Router(
            PrefixIndex(),
            (0, 1),
            RoutingPolicy.KV,
            block_tokens=4,
            random=Random(1),  # noqa: S311  a seeded test
            scorer=at(scorer, hour),
        )
        assert {router.route(range(40)).worker for _ in range(50)} == workers
        assert router.pricer.failures == 0
