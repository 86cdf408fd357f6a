from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.load import RATE_SECONDS, Batch, EngineLoad, TokenRates


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def now_of(load: EngineLoad) -> tuple[float | None, Batch | None]:
    return load.stalled_seconds, load.batch


def test_a_step_lasts_from_the_one_before_or_from_when_there_was_work() -> None:
    time = Time()
    load = EngineLoad(time)
    time.now = 200.0
    with load.request():
        time.now += 0.5
        load.stepped(Batch(1, 30, 0), model_seconds=0.4)
        assert load.steps.max_seconds == pytest.approx(0.5)
        assert load.scheduling.max_seconds == pytest.approx(0.1)
        time.now += 2.0
        load.stepped(Batch(1, 0, 1), model_seconds=1.0)
    assert (load.steps.max_seconds, load.scheduling.max_seconds) == (2.0, 1.0)


def test_idle_time_is_no_part_of_a_step() -> None:
    time = Time()
    load = EngineLoad(time)
    for _ in range(2):
        with load.request():
            time.now += 0.5
            load.stepped(Batch(1, 8, 0), model_seconds=0.5)
        time.now += 40.0
    assert load.steps.max_seconds == pytest.approx(0.5)


def test_a_step_after_the_last_request_has_left_is_counted_and_not_timed() -> None:
    load = EngineLoad(Time())
    load.stepped(Batch(1, 0, 1), model_seconds=0.5)
    assert (load.num_steps, load.decode_tokens, load.steps.max_seconds) == (1, 1, None)


def test_an_engine_stalls_only_while_it_has_work() -> None:
    time = Time()
    load = EngineLoad(time)
    time.now += 9.0
    assert now_of(load) == (None, None)
    with load.request(), load.request():
        time.now += 3.0
        assert now_of(load) == (3.0, None)
        load.stepped(Batch(2, 7, 1), model_seconds=1.0)
        assert now_of(load) == (0.0, Batch(2, 7, 1))
    assert now_of(load) == (None, None)


def test_a_new_engine_is_empty_and_the_counts_go_on() -> None:
    load = EngineLoad(Time())
    load.running, load.waiting, load.kv_usage, load.preemptions = 3, 2, 0.5, 4
    load.stepped(Batch(3, 5, 6), model_seconds=0.0)
    load.started()
    assert (load.running, load.waiting, load.kv_usage) == (0, 0, 0.0)
    assert (load.num_steps, load.prefill_tokens, load.decode_tokens, load.preemptions) == (1, 5, 6, 4)


@given(st.lists(st.tuples(st.floats(0, 4), st.integers(0, 99), st.integers(0, 99)), max_size=60))
def test_rates_are_those_of_the_last_whole_seconds(steps: list[tuple[float, int, int]]) -> None:
    time = Time()
    load = EngineLoad(time)
    prefill: Counter[int] = Counter()
    decode: Counter[int] = Counter()
    for seconds, prefill_tokens, decode_tokens in steps:
        time.now += seconds
        load.stepped(Batch(1, prefill_tokens, decode_tokens), model_seconds=0.0)
        prefill[int(time.now)] += prefill_tokens
        decode[int(time.now)] += decode_tokens
        recent = range(int(time.now) - RATE_SECONDS, int(time.now))
        rates = TokenRates(*(sum(told[each] for each in recent) / RATE_SECONDS for told in (prefill, decode)))
        assert load.rates() == rates
