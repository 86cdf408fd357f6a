from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOOK = """
import json, sys
from importlib import import_module
import_module(sys.argv[1]).warm_up()
modules = [import_module(name) for name in sys.argv[2].split()]
print(json.dumps({
    f"{module.__name__}.{name}": len(value.signatures)
    for module in modules
    for name, value in vars(module).items()
    if getattr(value, "targetoptions", {}).get("no_cpython_wrapper") is not True
    and hasattr(value, "signatures") and value.py_func.__module__ == module.__name__
}))
"""
CORE = [f"appliance.cache.{name}_kernels" for name in ("claim", "rebuild", "take", "use")]


@pytest.mark.parametrize(
    ("warming", "modules", "left_out"),
    [
        ("appliance.cache.warming", CORE, set()),
        # Only a death in the middle of a change has the index worked out anew.
        (
            "appliance.cache.arena.warming",
            [*CORE, "appliance.cache.arena.kernels"],
            {"appliance.cache.arena.kernels.enter_all"},
        ),
    ],
)
def test_after_warming_up_every_kernel_is_compiled_for_one_kind_of_arguments(
    warming: str, modules: list[str], left_out: set[str]
) -> None:
    line = [sys.executable, "-c", LOOK, warming, " ".join(modules)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    compiled = json.loads(done.stdout)
    assert len(compiled) > 10
    assert {name for name, kinds in compiled.items() if kinds != 1} == left_out
