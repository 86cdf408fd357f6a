"""What a process that shows a box loads: nothing that computes, routes or keeps."""

from __future__ import annotations

import json
import subprocess
import sys

FORBIDDEN = (
    "vllm",
    "torch",
    "transformers",
    "numba",
    "numpy",
    "fastapi",
    "uvicorn",
    "zmq",
    "sqlalchemy",
    "prometheus_client",
)
OURS = ("engine", "router", "cache", "supervisor", "pipeline", "fleet", "box", "assembly")

PROGRAM = """
import json, sys
import appliance.tui.session, appliance.tui.console, appliance.tui.source, appliance.tui.twins
import appliance.commands.console, appliance.commands.top, appliance.commands.up
from appliance.tui.pages.catalogue import PAGES
print(json.dumps(sorted(sys.modules)))
"""


def test_the_console_loads_no_engine_no_router_and_no_cache() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    modules = set(json.loads(answer.stdout))
    assert modules & set(FORBIDDEN) == set()
    ours = {name.split(".")[1] for name in modules if name.startswith("appliance.")}
    assert ours & set(OURS) == set()
