"""What each worker takes of this machine: processors and memory, and its GPUs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import psutil
from msgspec import Struct

from appliance.api.views import WorkerView


class GpuLoad(Struct, frozen=True):
    """`use` is the share of the last moment in which it computed, 0 … 1."""

    device: int
    use: float | None
    memory_used: int | None
    memory_total: int | None
    watts: float | None


class Load(Struct, frozen=True):
    """Of a worker's processes together: `cores` is 1.0 for one core that is busy, `None` at the first look."""

    cores: float | None
    memory_bytes: int | None
    gpus: list[GpuLoad] = []


class Machine:
    """Reads the machine that it runs on; for a thread."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._nvml: Any = None
        self._nvml_failed = False

    def loads(self, workers: Iterable[WorkerView]) -> dict[int, Load]:
        """Of those whose processes are there."""
        found = {}
        seen: set[int] = set()
        for worker in workers:
            if worker.pid is not None:
                processes = self._tree(worker.pid)
                seen.update(process.pid for process in processes)
                cores, memory = _sums(processes)
                gpus = [self._gpu(device) for device in map(_gpu_number, worker.devices) if device is not None]
                found[worker.id] = Load(cores, memory, gpus)
        self._processes = {pid: process for pid, process in self._processes.items() if pid in seen}
        return found

    def _tree(self, pid: int) -> list[psutil.Process]:
        """The same objects every time: how busy a process is, is measured since it was last asked."""
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
        return [self._processes.setdefault(process.pid, process) for process in tree]

    def _gpu(self, device: int) -> GpuLoad:
        nvml = self._library()
        if nvml is None:
            return GpuLoad(device, None, None, None, None)
        handle = nvml.nvmlDeviceGetHandleByIndex(device)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuLoad(
            device,
            nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            int(memory.used),
            int(memory.total),
            nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        )

    def _library(self) -> Any:
        """NVML, or `None` on a machine without a driver."""
        if self._nvml is None and not self._nvml_failed:
            import pynvml

            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError:
                self._nvml_failed = True
            else:
                self._nvml = pynvml
        return self._nvml


def _sums(processes: Iterable[psutil.Process]) -> tuple[float | None, int | None]:
    cores, memory = [], []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory.append(process.memory_info().rss)
            cores.append(process.cpu_percent(None) / 100)
    return (sum(cores) if cores else None), (sum(memory) if memory else None)


def _gpu_number(device: str) -> int | None:
    kind, _, number = device.partition(":")
    return int(number) if kind == "cuda" and number.isdigit() else None
