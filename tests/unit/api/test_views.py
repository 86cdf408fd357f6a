from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from appliance.api.views import BoxStatus
from tests.unit.api.scripted import ScriptedBox
from tests.unit.tui import example_box


def test_a_status_survives_json() -> None:
    status = ScriptedBox(worker_phases=("running", "failed")).status()
    assert BoxStatus.model_validate_json(status.model_dump_json()) == status


@pytest.mark.parametrize("place", [(), ("model",), ("workers", 0), ("workers", 0, "leads"), ("workers", 0, "steps")])
def test_what_a_newer_box_tells_beside_is_passed_over_by_clients_and_refused_by_the_api(place: tuple[Any, ...]) -> None:
    status = example_box.status()
    document = json.loads(status.model_dump_json())
    inner = document
    for step in place:
        inner = inner[step]
    inner["new_in_9"] = {"a": [1]}
    assert BoxStatus.told(document) == status
    assert BoxStatus.told(json.dumps(document).encode()) == status
    with pytest.raises(ValidationError, match="new_in_9"):
        BoxStatus.model_validate(document)


def test_what_a_client_needs_must_be_there() -> None:
    document = json.loads(example_box.status().model_dump_json())
    del document["workers"][0]["phase"]
    with pytest.raises(ValidationError, match="phase"):
        BoxStatus.told(document)


def test_a_snapshot_cannot_be_changed() -> None:
    status = ScriptedBox().status()
    with pytest.raises(ValidationError):
        status.pid = 2  # type: ignore[misc]  # what must not be possible


def test_the_views_load_without_a_web_server() -> None:
    heavy = "fastapi", "starlette", "uvicorn", "vllm", "torch"
    code = f"import sys, appliance.api.views; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)
