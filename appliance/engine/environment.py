"""Environment variables that vLLM reads, set before it is imported or a process of it is started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from appliance.engine.plan import WorkerPlan
from appliance.engine.plugin import LOG_VARIABLE, RETENTION_VARIABLE


def prepare_process(log_level: str, start_timeout_seconds: float) -> None:
    """Set what holds for every engine of this process. Call before the first import of vllm."""
    os.environ.update(
        {
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "DEBUG" if log_level == "debug" else "INFO",
            "VLLM_CONFIGURE_LOGGING": "0",
            # vLLM renames its processes with setproctitle, which would write over the environment in /proc that the
            # warden knows them by.
            "SPT_NOENV": "1",
            # Python's janitor of shared memory complains of what the box has removed already.
            "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
            "VLLM_ENGINE_READY_TIMEOUT_S": str(max(1, int(start_timeout_seconds))),
        }
    )
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)


def worker_environment(plan: WorkerPlan) -> dict[str, str]:
    """What the processes of one worker must see and those of others must not."""
    variables = {LOG_VARIABLE: str(plan.log), "VLLM_CONFIGURE_LOGGING": "1"}
    if plan.retention:
        variables[RETENTION_VARIABLE] = "1"
    if plan.cpus:
        variables["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, plan.cpus))
    return variables


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process and put the old values back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
