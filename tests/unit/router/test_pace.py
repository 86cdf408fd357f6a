from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.prompt_read import TierTokens
from appliance.router.errors import IntegrityError
from appliance.router.index import Tier
from appliance.router.pace import (
    MOST_TIMES_EXPECTED,
    PRIOR_FIXED_SECONDS,
    PRIOR_TOKENS_PER_SECOND,
    LearnedPace,
    Pace,
    Paces,
)


def taught(fixed_seconds: float, seconds_per_token: float, samples: int = 30) -> LearnedPace:
    learned, random = LearnedPace(), Random(1)  # noqa: S311  a seeded test
    for _ in range(samples):
        tokens = random.randrange(20, 4000)
        learned.learn(tokens, fixed_seconds + tokens * seconds_per_token)
    return learned


def test_before_anything_is_learned_the_prior_stands() -> None:
    pace = LearnedPace().pace
    assert pace.fixed_seconds == pytest.approx(PRIOR_FIXED_SECONDS)
    assert pace.seconds_per_token == pytest.approx(1 / PRIOR_TOKENS_PER_SECOND)
    assert pace.load_seconds_per_token == (0.0, *[pace.seconds_per_token] * 3)
    assert Paces().of(3) == pace


@pytest.mark.parametrize("tokens_per_second", [200.0, 4000.0, 30_000.0])
def test_a_pace_far_from_the_prior_is_found_within_thirty_requests(tokens_per_second: float) -> None:
    pace = taught(0.03, 1 / tokens_per_second).pace
    assert 1 / pace.seconds_per_token == pytest.approx(tokens_per_second, rel=0.1)


def test_turns_that_are_all_overhead_do_not_slow_down_long_prompts() -> None:
    learned = LearnedPace()
    for number in range(200):
        tokens = 4000 if number % 20 == 0 else 30
        learned.learn(tokens, 0.05 + tokens / 20_000)
    assert 1 / learned.pace.seconds_per_token == pytest.approx(20_000, rel=0.05)
    assert learned.pace.fixed_seconds == pytest.approx(0.05, rel=0.1)


def test_one_hiccup_moves_the_pace_by_no_more_than_its_bound() -> None:
    learned = taught(0.03, 0.001, samples=100)
    calm = learned.pace.seconds_per_token
    learned.learn(2000, 1e6)
    assert learned.pace.seconds_per_token < calm * (1 + MOST_TIMES_EXPECTED / 10)


def test_a_worker_that_becomes_slower_is_found_out() -> None:
    learned, random = taught(0.03, 0.001, samples=100), Random(2)  # noqa: S311  a seeded test
    for _ in range(150):
        tokens = random.randrange(20, 4000)
        learned.learn(tokens, 0.03 + tokens * 0.002)
    assert learned.pace.seconds_per_token == pytest.approx(0.002, rel=0.1)


@given(st.lists(st.tuples(st.integers(-10, 200_000), st.floats(-1, 1e9)), max_size=60))
def test_whatever_is_measured_the_pace_stays_possible(samples: list[tuple[int, float]]) -> None:
    learned = LearnedPace()
    for tokens, seconds in samples:
        learned.learn(tokens, seconds)
        learned.check_integrity()


def test_reading_from_a_tier_costs_what_it_took_and_computing_where_nothing_was_read() -> None:
    learned = LearnedPace()
    learned.loaded(Tier.HOST, 1000, 0.1)
    learned.loaded(Tier.HOST, 1000, 0.1)
    gpu, host, disk, remote = learned.pace.load_seconds_per_token
    assert [gpu, host] == pytest.approx([0.0, 0.0001])
    assert disk == remote == learned.pace.seconds_per_token


def test_of_a_prompt_that_was_loaded_for_the_larger_part_loading_is_learned_and_the_pace_of_computing_stays() -> None:
    learned = taught(0.03, 0.001, samples=100)
    before = learned.pace
    learned.learn(500, 0.03 + 0.5 + 0.2, TierTokens(host=4000))
    assert learned.pace.load_seconds_per_token[Tier.HOST] == pytest.approx(0.2 / 4000, rel=0.1)
    assert learned.pace[:2] == before[:2]


def test_of_a_prompt_that_was_computed_for_the_larger_part_nothing_is_learned_of_loading() -> None:
    learned = taught(0.03, 0.001, samples=100)
    before = learned.pace
    learned.learn(4000, 5.0, TierTokens(host=500))
    assert learned.pace == before


def test_time_is_learned_of_the_tier_that_gave_most_less_what_the_others_take() -> None:
    learned = taught(0.03, 0.001, samples=100)
    learned.loaded(Tier.HOST, 1000, 0.1)
    learned.learn(0, 0.03 + 0.1 + 2.0, TierTokens(host=1000, disk=4000))
    costs = learned.pace.load_seconds_per_token
    assert costs[Tier.DISK] == pytest.approx(0.0005, rel=0.01)
    assert costs[Tier.HOST] == pytest.approx(0.0001)
    assert costs[Tier.REMOTE] == learned.pace.seconds_per_token
    learned.learn(0, 0.03 + 5.0, TierTokens(disk=0, remote=5000))
    assert learned.pace.load_seconds_per_token[Tier.REMOTE] == pytest.approx(0.001, rel=0.01)


def test_a_tier_of_which_nothing_is_known_is_taken_to_be_as_slow_as_the_one_that_gave_most() -> None:
    learned = taught(0.03, 0.001, samples=100)
    learned.learn(0, 0.03 + 1.0, TierTokens(host=1000, disk=4000))
    assert learned.pace.load_seconds_per_token[Tier.DISK] == pytest.approx(0.0002, rel=0.01)
    assert learned.pace.load_seconds_per_token[Tier.HOST] == learned.pace.seconds_per_token


def test_workers_that_differ_by_noise_alone_have_one_pace() -> None:
    paces = Paces()
    for number in range(40):
        paces.learn(number % 2, 1000, 1.0 + 0.1 * (number % 2))
    assert paces.of(0) is paces.of(1)


def test_a_worker_of_another_kind_has_its_own() -> None:
    paces = Paces()
    for _ in range(40):
        for tokens in (100, 4000):
            paces.learn(0, tokens, 0.02 + tokens * 0.0001)
            paces.learn(1, tokens, 0.02 + tokens * 0.0004)
    assert paces.of(0).seconds_per_token == pytest.approx(0.0001, rel=0.1)
    assert paces.of(1).seconds_per_token == pytest.approx(0.0004, rel=0.1)
    fixed_seconds = paces.of(1).fixed_seconds
    paces.learn(1, 0, fixed_seconds + 0.5, TierTokens(host=1000))
    assert paces.of(1).load_seconds_per_token[Tier.HOST] == pytest.approx(0.0005)
    paces.check_integrity()


def test_the_check_finds_a_pace_that_cannot_be() -> None:
    learned = LearnedPace()
    learned.pace = Pace(-1.0, 0.1, (0.0,) * 4)
    with pytest.raises(IntegrityError, match="pace"):
        learned.check_integrity()
