"""Which worker runs where: cores or GPUs, event sockets and log file of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from appliance.cache.arena.place import ArenaPlace
from appliance.engine.hardware import Hardware
from appliance.errors import StartError
from appliance.settings import Settings

CPU_WORKERS = 2
CPU_KV_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Where one worker runs. Exactly one of `cpus` and `gpus` is non-empty.

    With `retention` its blocks are evicted in our order, without it the engine is vLLM as it comes. `arena` is where
    all workers keep blocks below their own memory.
    """

    id: int
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]
    events: str
    replay: str
    log: Path
    retention: bool = False
    arena: ArenaPlace | None = None

    @property
    def devices(self) -> list[str]:
        return [f"cuda:{gpu}" for gpu in self.gpus] or [f"cpu:{cpu}" for cpu in self.cpus]


def plan_workers(
    settings: Settings, hardware: Hardware, sockets: Path, logs: Path, arena: ArenaPlace | None = None
) -> tuple[WorkerPlan, ...]:
    """One plan a worker; raises `StartError` when the machine has fewer GPUs than asked for.

    `sockets` must be a short path: Unix socket names end at 107 characters.
    """
    wanted = settings.workers.count
    if hardware.gpus:
        shares = _gpu_groups(hardware, settings.workers.tensor_parallel, None if wanted == "auto" else wanted)
    else:
        shares = [(cpus, ()) for cpus in _core_groups(hardware.cpus, CPU_WORKERS if wanted == "auto" else wanted)]
    return tuple(
        WorkerPlan(
            id=worker,
            cpus=cpus,
            gpus=gpus,
            events=f"ipc://{sockets}/events.{worker}",
            replay=f"ipc://{sockets}/replay.{worker}",
            log=logs / f"worker-{worker}.log",
            retention=settings.cache.policy != "off" and settings.cache.gpu.bytes != 0,
            arena=arena,
        )
        for worker, (cpus, gpus) in enumerate(shares)
    )


def _gpu_groups(hardware: Hardware, size: int, count: int | None) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    indices = [gpu.index for gpu in hardware.gpus]
    possible = len(indices) // size
    count = possible if count is None else count
    if count < 1 or count > possible:
        raise StartError(
            f"{max(count, 1)} worker(s) of {size} GPU(s) do not fit on the {len(indices)} GPU(s) of this machine.",
            hint="Lower workers.count or workers.tensor_parallel.",
        )
    return [((), tuple(indices[group * size : (group + 1) * size])) for group in range(count)]


def _core_groups(cpus: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Neighbouring cores, as evenly as they go; with more workers than cores, workers share."""
    if count >= len(cpus):
        return [(cpus[worker % len(cpus)],) for worker in range(count)]
    bounds = [len(cpus) * worker // count for worker in range(count + 1)]
    return [cpus[low:high] for low, high in pairwise(bounds)]
