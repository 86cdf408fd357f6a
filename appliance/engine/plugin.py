"""What vLLM loads in each of its processes (entry point group `vllm.general_plugins`).

Nothing heavy may be imported here: vLLM calls this before it has set up the process, and numba imported before a CPU
worker starts kills that worker.
"""

from __future__ import annotations

import multiprocessing
import os

LOG_VARIABLE = "_DYNAMO_BOX_ENGINE_LOG"
RETENTION_VARIABLE = "_DYNAMO_BOX_RETENTION"


def register() -> None:
    """Send an engine process's output to its worker's log, keep the terminal's Ctrl-C from it, and have its blocks
    evicted by our order if the box says so.

    Idempotent; no-op outside our engines.
    """
    path = os.environ.get(LOG_VARIABLE)
    if path is None or multiprocessing.parent_process() is None:
        return
    _redirect(path)
    if os.environ.get(RETENTION_VARIABLE) == "1":
        from appliance.engine.retention.install import install

        install()


def _redirect(path: str) -> None:
    os.setpgid(0, 0)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
    finally:
        os.close(log)
