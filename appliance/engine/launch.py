"""Start one `AsyncLLM` whose processes see an environment of their own.

vLLM's child processes read core binding and log file from the environment they were started with. Workers start side
by side from threads of one process, which has a single `os.environ`: it is held only while the processes are created
(milliseconds), not while the engine loads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import vllm.v1.engine.utils as engine_utils
from vllm.config import VllmConfig
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.utils import CoreEngineProcManager
from vllm.v1.metrics.loggers import PrometheusStatLogger, StatLoggerFactory

from appliance.engine.environment import environment

_spawning = threading.Lock()
_variables: ContextVar[Mapping[str, str]] = ContextVar("worker_environment")


class OwnEnvironmentProcManager(CoreEngineProcManager):  # type: ignore[misc]  # vllm is not typed
    """vLLM's process manager, creating its processes under the variables of the calling context."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _spawning, environment(_variables.get({})):
            super().__init__(*args, **kwargs)


engine_utils.CoreEngineProcManager = OwnEnvironmentProcManager


class Unpublished(PrometheusStatLogger):  # type: ignore[misc]  # vllm is not typed
    """Stands where vLLM would put its own Prometheus metrics, which nobody reads here.

    Those are registered under the same names by every engine of a process: of two that load at the same moment one
    fails ("Duplicated timeseries"). And to keep them up takes time with every step.
    """

    def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
        """Registers nothing: what `super` would do."""

    def record(self, *_: Any, **__: Any) -> None:
        pass

    def log_engine_initialized(self) -> None:
        pass

    def record_sleep_state(self, *_: Any, **__: Any) -> None:
        pass

    def record_admission_rejection(self, reason: str) -> None:
        pass


def launch(config: VllmConfig, variables: Mapping[str, str], stat_logger: StatLoggerFactory) -> AsyncLLM:
    """Start an engine and return when it has loaded. Blocks for tens of seconds: call it in a thread of its own."""
    token = _variables.set(variables)
    try:
        return AsyncLLM.from_vllm_config(config, stat_loggers=[stat_logger, Unpublished], disable_log_stats=True)
    finally:
        _variables.reset(token)
