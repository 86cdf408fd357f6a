from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from appliance.router.errors import UnknownScorer
from appliance.router.scorers import GROUP, OWN, Pricer, load_scorer
from appliance.router.scoring import Cost, Prospect, expected_cost, least_loaded
from tests.unit.router.prospects import prospect

PROSPECTS = [prospect(10, worker=worker) for worker in range(2)]


class Flat:
    def __call__(self, prospect: Prospect) -> Cost:
        return Cost(other_seconds=1.0)


NOT_CALLABLE = 5


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"tests.unit.router.test_scorers:{value}", GROUP)


def test_the_own_scorers_have_names() -> None:
    assert load_scorer("expected_cost") is expected_cost
    assert load_scorer("least_loaded") is least_loaded


def test_a_plugin_may_be_a_class_or_a_callable() -> None:
    by_class = load_scorer("mine", [plugin("mine", "Flat")])
    assert by_class(PROSPECTS[0]).total_seconds == 1.0
    assert load_scorer("mine", [EntryPoint("mine", "appliance.router.scoring:least_loaded", GROUP)]) is least_loaded


def test_an_own_name_cannot_be_taken_by_a_plugin() -> None:
    assert load_scorer("least_loaded", [plugin("least_loaded", "Flat")]) is least_loaded


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("least-loaded", 'router.scorer = "least-loaded": no scorer of this name; did you mean least_loaded?'),
        ("flatt", "did you mean flat?"),
        ("zzz", "there are expected_cost, least_loaded, flat"),
        ("gone", "cannot be loaded"),
        ("number", "cannot be called"),
    ],
)
def test_a_scorer_that_cannot_be_had_is_told_with_the_nearest(name: str, message: str) -> None:
    plugins = [plugin("flat", "Flat")]
    plugins += [one for one in (plugin("gone", "Gone"), plugin("number", "NOT_CALLABLE")) if one.name == name]
    with pytest.raises(UnknownScorer) as error:
        load_scorer(name, plugins)
    assert message in str(error.value)


def test_a_pricer_says_what_its_scorer_says() -> None:
    assert Pricer(Flat()).costs(PROSPECTS) == [Cost(other_seconds=1.0)] * 2


@pytest.mark.parametrize("fault", [float("nan"), float("inf"), None, ValueError("no")])
def test_a_scorer_that_fails_is_done_without_for_the_whole_decision(
    fault: float | Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(prospect: Prospect) -> Cost:
        if prospect.worker == 0:
            return Cost()
        if isinstance(fault, Exception):
            raise fault
        return None if fault is None else Cost(other_seconds=fault)  # type: ignore[return-value]  # as a plugin may

    pricer = Pricer(broken)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert pricer.costs(PROSPECTS) == [*map(expected_cost, PROSPECTS)]
    assert pricer.failures == 5
    assert len(caplog.records) == 3


def test_every_own_scorer_prices_every_prospect() -> None:
    for scorer in OWN.values():
        assert scorer(PROSPECTS[0]).total_seconds >= 0
