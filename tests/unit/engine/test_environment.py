from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.environment import environment, prepare_process, worker_environment
from appliance.engine.plan import WorkerPlan
from appliance.engine.plugin import LOG_VARIABLE

NAMES = st.sampled_from(["BOX_TEST_A", "BOX_TEST_B", "BOX_TEST_C"])
variables = st.dictionaries(NAMES, st.text("xyz", max_size=3))


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A stand-in for this process's environment."""
    stand_in = {"PATH": "/bin", "VLLM_CPU_KVCACHE_SPACE": "40", "VLLM_NO_USAGE_STATS": "0"}
    monkeypatch.setattr(os, "environ", stand_in)
    return stand_in


@pytest.mark.parametrize(("level", "theirs"), [("debug", "DEBUG"), ("info", "INFO"), ("error", "INFO")])
def test_engines_always_log_enough_to_tell_why_they_did_not_start(
    environ: dict[str, str], level: str, theirs: str
) -> None:
    prepare_process(level, 60)
    assert environ["VLLM_LOGGING_LEVEL"] == theirs


@pytest.mark.parametrize(("seconds", "theirs"), [(900.0, "900"), (1.9, "1"), (0.2, "1")])
def test_the_start_timeout_is_whole_seconds_and_never_none(
    environ: dict[str, str], seconds: float, theirs: str
) -> None:
    prepare_process("info", seconds)
    assert environ["VLLM_ENGINE_READY_TIMEOUT_S"] == theirs


def test_what_holds_for_every_engine_is_set_over_what_was_there(environ: dict[str, str]) -> None:
    prepare_process("info", 60)
    assert environ["VLLM_NO_USAGE_STATS"] == "1"
    assert environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert environ["SPT_NOENV"]
    assert environ["VLLM_CONFIGURE_LOGGING"] == "0"
    assert environ["PATH"] == "/bin"


def test_the_size_of_the_cpu_cache_comes_from_the_settings_alone(environ: dict[str, str]) -> None:
    prepare_process("info", 60)
    assert "VLLM_CPU_KVCACHE_SPACE" not in environ


def test_a_cpu_worker_is_bound_to_its_cores(plan: WorkerPlan) -> None:
    made = worker_environment(replace(plan, cpus=(2, 3)))
    assert made["VLLM_CPU_OMP_THREADS_BIND"] == "2,3"


def test_a_gpu_worker_is_bound_to_no_cores(plan: WorkerPlan) -> None:
    assert "VLLM_CPU_OMP_THREADS_BIND" not in worker_environment(replace(plan, cpus=(), gpus=(0,)))


def test_a_worker_logs_to_its_own_file(plan: WorkerPlan) -> None:
    made = worker_environment(plan)
    assert (made[LOG_VARIABLE], made["VLLM_CONFIGURE_LOGGING"]) == (str(plan.log), "1")


@given(before=variables, inside=variables, meddled=variables)
def test_afterwards_the_variables_are_as_before(
    before: dict[str, str], inside: dict[str, str], meddled: dict[str, str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(before))
        with environment(inside):
            assert os.environ == before | inside
            os.environ.update({name: value for name, value in meddled.items() if name in inside})
        assert os.environ == before


def test_the_variables_are_put_back_after_a_failure(environ: dict[str, str]) -> None:
    before = dict(environ)
    with pytest.raises(RuntimeError), environment({"PATH": "/other", "NEW": "1"}):
        raise RuntimeError
    assert environ == before
