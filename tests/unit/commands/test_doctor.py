"""The command around the checks; the checks themselves are tested beside them."""

from __future__ import annotations

import pytest

from appliance.cli import parse
from appliance.commands import doctor
from appliance.commands.context import read_context
from appliance.doctor import Check, DoctorContext
from appliance.engine.hardware import Hardware
from appliance.engine.plan import CPU_KV_BYTES, CPU_WORKERS
from appliance.runtime import Runtime
from tests.unit.commands.conftest import Place

GOOD = Check("python", "ok", "3.12.1")
WARNING = Check("open files", "warn", "1024", "Run `ulimit -n 4096`.")
BAD = Check("memory", "fail", "1 GiB", "Start fewer workers.")


def examined(*arguments: str) -> DoctorContext:
    return doctor._doctor_context(read_context(parse(["doctor", *arguments])))


@pytest.mark.parametrize(("checks", "code"), [([GOOD], 0), ([GOOD, WARNING], 0), ([BAD, GOOD], 1)])
def test_the_exit_status_tells_whether_a_check_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch, checks: list[Check], code: int
) -> None:
    monkeypatch.setattr(doctor, "run_checks", lambda _context: checks)
    answer = place.command("doctor", "--json")
    assert answer.code == code
    assert [Check(**check) for check in answer.json] == checks


def test_text_has_advice_below_what_is_not_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "run_checks", lambda _context: [GOOD, BAD])
    first, second, advice = place.command("doctor").out.splitlines()
    assert first.split() == ["ok", "python", "3.12.1"]
    assert second.startswith("fail")
    assert advice.strip() == f"→ {BAD.advice}"


def test_this_machine_is_examined_without_starting_anything(place: Place) -> None:
    answer = place.command("doctor", "--json")
    assert answer.code == any(check["verdict"] == "fail" for check in answer.json)
    assert "python" in [check["name"] for check in answer.json]
    assert not place.runtime.exists()


def test_without_a_gpu_the_defaults_of_cpu_workers_are_examined(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "detect_hardware", lambda: Hardware(gpus=(), cpus=(0, 1)))
    context = examined()
    assert (context.num_workers, context.kv_bytes) == (CPU_WORKERS, CPU_KV_BYTES)
    assert not context.box_is_running


def test_settings_are_examined_as_given(place: Place, box: Runtime) -> None:
    context = examined("--workers", "3", "--port", "9000", "--set", "cache.gpu.bytes=2GiB")
    assert (context.num_workers, context.port, context.kv_bytes) == (3, 9000, 2 * 2**30)
    assert context.box_is_running
