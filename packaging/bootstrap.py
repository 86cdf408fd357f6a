"""Makes `.venv` for this clone. Run by make; needs only Python's standard library.

    <cache>/dynamo-box/envs/<digest>   every third-party package, shared by all clones; digest of what defines it:
                                       engine, lock, overrides, Python, machine
    .venv                              small, one per clone: this project, editable, and a `.pth` to the shared one

Both are built beside their place and put there when complete, under a file lock; `.venv` carries a stamp of what it was
made from. When both are current, nothing is done and uv is not started.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
VENV = ROOT / ".venv"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamo-box"

PYTHONS = ((3, 11), (3, 13))
MIN_UV = (0, 8)
DISK_NEEDED_GB = {"cpu": 4, "cuda": 15}
# Of Linux, for renameat2.
AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNWANTED_VARIABLES = frozenset({"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"})
NETWORK_WORDS = (
    "dns error",
    "error sending request",
    "failed to fetch",
    "connect",
    "timed out",
    "network",
    "not find a version",
)


class SetupError(Exception):
    """Ends the set-up; the text says what to do."""


class Plan(NamedTuple):
    """What to make: the engine, its lock, and the shared environment that belongs to them."""

    engine: str
    lock: Path
    shared: Path


def python_for_box() -> str:
    """This interpreter when it will do, else another one on PATH that will."""
    oldest, newest = PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        return os.path.realpath(sys.executable)
    for minor in (12, 13, 11):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    raise SetupError(
        f"Python {platform.python_version()} ({sys.executable}) is not supported, and none of python3.11 to python3.13 "
        "is on PATH; install one, or name it: make run PYTHON=/path/to/python3.12"
    )


def pick_engine(wanted: str) -> str:
    """`cuda` when the driver answers that there is an NVIDIA GPU, else `cpu`; a wanted engine is taken as it is."""
    if wanted != "auto":
        return wanted
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        if listing.returncode == 0 and "GPU " in listing.stdout:
            return "cuda"
    return "cpu"


def make_plan(engine: str) -> Plan:
    lock = PACKAGING / "locks" / f"{engine}.txt"
    parts = [f"{engine} {sys.version} {platform.machine()}".encode()]
    parts += [path.read_bytes() for path in (lock, PACKAGING / "overrides.txt", PACKAGING / "no-deps.txt")]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return Plan(engine, lock, CACHE / "envs" / f"{engine}-{digest}")


def clone_stamp(plan: Plan) -> str:
    """Differs whenever `.venv` must be made again: other packages, a moved clone, other metadata of the project."""
    metadata = (ROOT / "pyproject.toml").read_bytes() + (ROOT / "appliance" / "__init__.py").read_bytes()
    return f"{plan.shared}\n{ROOT}\n{hashlib.sha256(metadata).hexdigest()}\n"


def is_current(plan: Plan) -> bool:
    stamp = VENV / "stamp"
    made = stamp.is_file() and (VENV / "bin" / "python").exists()
    return made and stamp.read_text() == clone_stamp(plan) and plan.shared.is_dir()


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Prints one line when the step begins and its seconds when it is done."""
    print(f"  … {name}", flush=True)
    begin = time.monotonic()
    yield
    print(f"  ✓ {name}  {time.monotonic() - begin:.1f} s", flush=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds the lock of the cache folder; the kernel frees it when this process ends, however it ends."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another set-up on this machine"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def find_uv() -> str:
    """A uv that is new enough: on PATH, or our own in the cache folder, brought by pip when missing."""
    own = CACHE / "uv"
    for candidate in (shutil.which("uv"), str(own / "bin" / "uv")):
        if candidate and uv_version(candidate) >= MIN_UV:
            return candidate
    with step("bringing uv with pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
        done = subprocess.run([*pip, "--upgrade", "--target", str(own), "uv"], env=environment, check=False)
        if done.returncode != 0:
            raise SetupError(
                "pip could not bring uv, see above: check the network or install uv by hand, then run make again"
            )
    return str(own / "bin" / "uv")


def uv_version(executable: str) -> tuple[int, ...]:
    """Empty, thus older than any, when it does not start."""
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ()
    found = re.match(r"uv (\d+)\.(\d+)", answer)
    return tuple(int(part) for part in found.groups()) if found else ()


def uv_environment(engine: str) -> dict[str, str]:
    """For the CPU, torch's CPU build comes from a folder of wheels when pip has one, else from PyTorch's own index."""
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED_VARIABLES}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    if engine == "cpu":
        links = os.environ.get("UV_FIND_LINKS", "").split(",") + os.environ.get("PIP_FIND_LINKS", "").split()
        environment["UV_FIND_LINKS"] = ",".join(filter(None, links))
        if not any(has_cpu_torch(Path(link)) for link in links if link):
            environment["UV_TORCH_BACKEND"] = "cpu"
    return environment


def has_cpu_torch(folder: Path) -> bool:
    """Whether it holds a CPU build of torch for this Python."""
    return any(folder.glob(f"torch-*+cpu-cp{sys.version_info[0]}{sys.version_info[1]}-*.whl"))


def run_uv(arguments: list[str], environment: dict[str, str]) -> None:
    """Shows what uv downloads. Tries twice, since an index now and then drops a connection."""
    tail: deque[str] = deque(maxlen=12)
    for _ in range(2):
        tail.clear()
        command = [find_uv(), *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            for line in process.stderr or ():
                tail.append(line)
                if line.startswith("Downloading "):
                    print(f"      {line.strip()}", flush=True)
        if process.returncode == 0:
            return
    words = "".join(tail)
    raise SetupError(f"uv {' '.join(arguments[:2])} failed twice:\n{words}{failure_advice(words)}")


def failure_advice(words: str) -> str:
    if "No space left" in words:
        return f"The disk is full: free some space, or set XDG_CACHE_HOME to a larger disk (now {CACHE.parent})."
    if any(word in words.lower() for word in NETWORK_WORDS):
        return "The package index was not reached: check the network or proxy and run make again; what is done is kept."
    return "Run make again once that is mended; what is done is kept."


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def check_disk(engine: str) -> None:
    free_gb = shutil.disk_usage(CACHE).free / 1e9
    if free_gb < DISK_NEEDED_GB[engine]:
        raise SetupError(
            f"{CACHE} has {free_gb:.1f} GB free and the {engine} packages need {DISK_NEEDED_GB[engine]} GB; "
            "free some space, or set XDG_CACHE_HOME to a larger disk"
        )


def build_shared(plan: Plan) -> None:
    """Makes the shared environment beside its place and renames it when complete; one left half made is made anew."""
    check_disk(plan.engine)
    environment = uv_environment(plan.engine)
    unfinished = beside(plan.shared)
    python = str(unfinished / "bin" / "python")
    install = ["pip", "install", "--python", python, "--no-deps", "--compile-bytecode"]
    with step(f"packages of {plan.lock.relative_to(ROOT)}, compiled to bytecode"):
        make_venv(unfinished, environment)
        run_uv([*install, "--requirements", str(plan.lock)], environment)
    with step("demo model's package"):
        run_uv([*install, "--requirements", str(PACKAGING / "no-deps.txt")], environment)
    with step("torch loads"):
        probe = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
        if probe.returncode != 0:
            raise SetupError(f"torch was installed but does not load:\n{probe.stderr}")
    unfinished.rename(plan.shared)


def link_clone(plan: Plan) -> None:
    """Makes `.venv` on the shared environment. A command that runs from the old one goes on with the new one."""
    environment = uv_environment(plan.engine)
    unfinished = beside(VENV)
    make_venv(unfinished, environment)
    shared_packages = str(site_packages(plan.shared))
    (site_packages(unfinished) / "shared.pth").write_text(f"import site; site.addsitedir({shared_packages!r})\n")
    copy_commands(plan.shared / "bin", unfinished / "bin")
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run_uv(["pip", "install", "--python", str(unfinished / "bin" / "python"), *editable], environment)
    (unfinished / "stamp").write_text(clone_stamp(plan))
    put_in_place(unfinished, VENV)


def beside(place: Path) -> Path:
    """Where an environment is built before it is put in its place."""
    return place.with_name(f"{place.name}.unfinished")


def make_venv(folder: Path, environment: dict[str, str]) -> None:
    """An empty environment that may be renamed; what is there already is removed, before a second try too."""
    remove(folder)
    python = os.path.realpath(sys.executable)
    run_uv(["venv", "--clear", "--relocatable", "--python", python, str(folder)], environment)


def put_in_place(new: Path, place: Path) -> None:
    """Renames `new` to `place` and removes what was there. Nobody finds `place` missing or half made meanwhile, but for
    the moment between two renames where the file system cannot exchange names (NFS)."""
    old = new
    if not os.path.lexists(place):
        new.rename(place)
    elif not exchange(new, place):
        old = place.with_name(f"{place.name}.old")
        remove(old)
        place.rename(old)
        new.rename(place)
    remove(old)


def exchange(one: Path, other: Path) -> bool:
    """Lets two names change places in one step; `False`, and nothing changed, where the file system cannot."""
    done = ctypes.CDLL(None).renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE)
    return bool(done == 0)


def remove(folder: Path) -> None:
    """A folder with all in it, or only the link when it is one; no-op when there is none."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def copy_commands(source: Path, target: Path) -> None:
    """Scripts are copied, since a relocatable one starts the Python beside it; programs are linked."""
    for command in source.iterdir():
        if (target / command.name).exists():
            continue
        with command.open("rb") as file:
            is_script = file.read(2) == b"#!"
        if is_script:
            shutil.copy2(command, target)
        else:
            (target / command.name).symlink_to(command)


def prepare(wanted_engine: str) -> None:
    """Brings `.venv` up to date; a no-op when it is."""
    plan = make_plan(pick_engine(wanted_engine))
    if is_current(plan):
        return
    with only_one():
        if is_current(plan):  # another make of this clone was first
            return
        find_uv()
        if not plan.shared.is_dir():
            build_shared(plan)
        with step(f".venv on {plan.shared}"):
            link_clone(plan)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes .venv for this clone.")
    parser.add_argument("--engine", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    try:
        python = python_for_box()
        if python != os.path.realpath(sys.executable):
            os.execv(python, [python, *sys.argv])
        prepare(options.engine)
    except SetupError as error:
        print(f"dynamo-box: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
