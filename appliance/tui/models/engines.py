"""Each vLLM engine: what it does, what it has, how well it is followed."""

from __future__ import annotations

from msgspec import Struct

from appliance.api.views import StepsView, WatchdogView, WorkerView
from appliance.tui.frame import Frame
from appliance.tui.machine import GpuLoad, Load


class EngineLine(Struct, frozen=True):
    """One engine. `cores` and `memory_bytes` are what its processes take; `leads` counts leads spared, subagents held
    back, and those let in without room."""

    id: int
    phase: str
    pid: int | None
    devices: list[str]
    restarts: int
    running: int
    prefill_blocks: int
    kv_blocks: int | None
    kv_usage: float | None
    indexed_blocks: int
    in_step: bool
    event_batches: int
    event_gaps: int
    event_resets: int
    last_error: str | None
    leads: tuple[int, int, int] | None
    steps: StepsView | None
    watchdog: WatchdogView | None
    cores: float | None
    memory_bytes: int | None
    gpus: list[GpuLoad]


def engines(frame: Frame) -> list[EngineLine]:
    workers = [] if frame.status is None else frame.status.workers
    return [_line(worker, frame.loads.get(worker.id)) for worker in workers]


def _line(worker: WorkerView, load: Load | None) -> EngineLine:
    leads = worker.leads
    return EngineLine(
        id=worker.id,
        phase=worker.phase,
        pid=worker.pid,
        devices=worker.devices,
        restarts=worker.restarts,
        running=worker.running_requests,
        prefill_blocks=worker.prefill_blocks_queued,
        kv_blocks=worker.kv_blocks_total,
        kv_usage=worker.kv_usage,
        indexed_blocks=worker.kv_blocks_indexed,
        in_step=worker.index_in_step,
        event_batches=worker.event_batches,
        event_gaps=worker.event_gaps,
        event_resets=worker.event_resets,
        last_error=worker.last_error,
        leads=None if leads is None else (leads.spared, leads.held_back, leads.in_vain),
        steps=worker.steps,
        watchdog=worker.watchdog,
        cores=None if load is None else load.cores,
        memory_bytes=None if load is None else load.memory_bytes,
        gpus=[] if load is None else load.gpus,
    )
