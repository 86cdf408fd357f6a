"""The environment that an engine's processes start with; vLLM's process manager and client are stand-ins."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import pytest
import vllm.v1.engine.utils as engine_utils
from prometheus_client import REGISTRY
from vllm.config import VllmConfig
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerManager

from appliance.engine.launch import OwnEnvironmentProcManager, Unpublished, launch

VARIABLE = "BOX_TEST_WORKER"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """What the processes of each engine saw; four engines are launched at the same moment."""
    seen: list[str | None] = []
    together, overlapping = threading.Barrier(4), threading.Barrier(2)

    def start_processes(_self: object) -> None:
        with suppress(threading.BrokenBarrierError):
            overlapping.wait(0.05)
            pytest.fail("two engines made their processes at the same time")
        seen.append(os.environ.get(VARIABLE))

    def from_vllm_config(config: str, *, stat_loggers: list[Any], disable_log_stats: bool) -> tuple[str, Any, bool]:
        together.wait(10)
        engine_utils.CoreEngineProcManager()
        return config, stat_loggers, disable_log_stats

    manager = OwnEnvironmentProcManager.__mro__[1]
    monkeypatch.setattr(manager, "__init__", start_processes)
    monkeypatch.setattr(AsyncLLM, "from_vllm_config", from_vllm_config)
    monkeypatch.delenv(VARIABLE, raising=False)
    yield seen
    assert VARIABLE not in os.environ


def test_engines_started_side_by_side_each_see_their_own_variables(seen: list[str | None]) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda name: launch(name, {VARIABLE: name}, print), "abcd"))
    assert sorted(map(str, seen)) == list("abcd")
    assert made == [(name, [print, Unpublished], True) for name in "abcd"]


def test_engines_of_one_process_register_no_metrics_and_so_cannot_stand_in_each_others_way() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    config = cast("VllmConfig", None)
    managers = [
        StatLoggerManager(config, custom_stat_loggers=[Unpublished], enable_default_loggers=False) for _ in range(2)
    ]
    for manager in managers:
        assert [type(logger) for logger in manager.stat_loggers] == [Unpublished], "vLLM adds its own again: launch.py"
        manager.log_engine_initialized()
        manager.record(None, None)
        manager.record_sleep_state()
        manager.record_admission_rejection("capacity")
        manager.log()
    assert {metric.name for metric in REGISTRY.collect()} == before


def test_outside_of_a_launch_the_environment_is_left_alone(seen: list[str | None]) -> None:
    engine_utils.CoreEngineProcManager()
    assert seen == [None]
