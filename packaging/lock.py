"""Writes `packaging/locks/{cpu,cuda}.txt`: one pinned version of every package, for each Python and machine we support.

uv resolves for every platform there is; a line that no supported target would install is left out, and a condition that
holds on all of them is dropped. The CPU lock says `torch==2.13.0`, which its `+cpu` build satisfies as well.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

from bootstrap import PACKAGING, ROOT, find_uv, uv_environment
from packaging.markers import Marker

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13")
COMMON = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
CPYTHON = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}


def targets() -> list[dict[str, str]]:
    return [
        {
            **COMMON,
            **CPYTHON,
            "platform_machine": machine,
            "python_version": python,
            "python_full_version": f"{python}.1",
        }
        for machine, python in itertools.product(MACHINES, PYTHONS)
    ]


def pin(line: str) -> str | None:
    """The line as the lock says it, or `None` when no target would install it."""
    requirement, _, condition = (part.strip() for part in line.partition(";"))
    requirement = requirement.partition("+")[0]
    wanted = [Marker(condition).evaluate(target) for target in targets()] if condition else [True]
    if not any(wanted):
        return None
    return requirement if all(wanted) else f"{requirement} ; {condition}"


def resolve(engine: str) -> list[str]:
    command = [find_uv(), "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", PYTHONS[0]]
    command += ["--extra", engine, "--group", "dev", "--group", "demo", "--no-annotate", "--no-header"]
    if engine == "cpu":
        command += ["--overrides", str(PACKAGING / "overrides.txt")]
    environment = uv_environment(engine)
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


def main() -> int:
    for engine in ("cpu", "cuda"):
        lines = [line for line in map(pin, resolve(engine)) if line]
        lock = PACKAGING / "locks" / f"{engine}.txt"
        lock.parent.mkdir(exist_ok=True)
        lock.write_text("\n".join(lines) + "\n")
        print(f"{os.path.relpath(lock)}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
