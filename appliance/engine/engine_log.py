"""A worker's log file: kept short, and read for the reason when an engine does not start."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

TAIL_BYTES = 64 * 1024
_ERROR = re.compile(r"(?:\b[\w.]*\.)?([A-Z]\w*(?:Error|Exception|Exit)): (.+)$")
# These only say that another process failed; the reason stands above them.
_WRAPPED = re.compile(r"Worker failed with error '(.+)', please check the stack trace.*")
_SECOND_HAND = ("Engine core initialization failed", "WorkerProc initialization failed", "Failed core proc")


def rotate(log: Path) -> None:
    """Begin a new log, keeping the last one beside it as `.1`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_name(log.name + ".1"))


def last_error(log: Path) -> str | None:
    """The first-hand error nearest to the end of the log, as one line; `None` when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        found = _ERROR.search(line)
        if found and not any(phrase in found[2] for phrase in _SECOND_HAND):
            return f"{found[1]}: " + _WRAPPED.sub(r"\1", found[2].strip())
    return None


def advice(log: Path) -> str:
    """What to do about `last_error`, in terms of our settings; where to read more."""
    reason = (last_error(log) or "").lower()
    told = next((text for words, text in _ADVICE if any(word in reason for word in words)), "")
    return f"{told}The engine's own log: {log}"


_ADVICE = (
    (("shared-memory allocation",), "Make /dev/shm larger (containers: --shm-size). "),
    (
        ("max seq len", "max_model_len", "max model len"),
        "Lower model.max_model_len (--max-model-len) or raise cache.gpu.bytes. ",
    ),
    (
        ("kv cache", "kv-cache-memory", "gpu_memory_utilization", "gpu memory utilization"),
        "Lower cache.gpu.bytes, workers.gpu_memory_utilization or workers.count. ",
    ),
    (("out of memory", "outofmemory"), "Take a smaller model, or lower workers.gpu_memory_utilization. "),
)
