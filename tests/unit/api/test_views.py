from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from appliance.api.views import BoxStatus
from tests.unit.api.scripted import ScriptedBox


def test_a_status_survives_json() -> None:
    status = ScriptedBox(worker_phases=("running", "failed")).status()
    assert BoxStatus.model_validate_json(status.model_dump_json()) == status


def test_a_snapshot_cannot_be_changed() -> None:
    status = ScriptedBox().status()
    with pytest.raises(ValidationError):
        status.pid = 2  # type: ignore[misc]  # what must not be possible


def test_the_views_load_without_a_web_server() -> None:
    heavy = "fastapi", "starlette", "uvicorn", "vllm", "torch"
    code = f"import sys, appliance.api.views; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)
