"""How `.venv` is made, without network: a stand-in for uv makes empty environments and notes what it was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bootstrap
import pytest
from bootstrap import Plan, SetupError

ROOT = Path(__file__).parents[3]

# `venv` makes what the real one would; an environment's Python answers every question with yes.
UV = """#!/bin/sh
[ "$1" = --version ] && { echo "uv ${FAKE_UV_VERSION:-0.9.1}"; exit; }
echo "$*" >> "$FAKE_UV_LOG"
for last; do :; done
if [ "$1" = venv ]; then
    rm -rf "$last"
    mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"
    printf '#!/bin/sh\\nexit 0\\n' > "$last/bin/python"
    chmod +x "$last/bin/python"
fi
[ -z "$FAKE_UV_FAILS" ] || { echo "$FAKE_UV_FAILS" >&2; exit 1; }
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone and a cache of their own, and a uv that is not one."""
    clone, programs = tmp_path / "clone", tmp_path / "bin"
    for folder in (clone / "packaging" / "locks", clone / "appliance", programs):
        folder.mkdir(parents=True)
    for name in ("bootstrap.py", "overrides.txt", "no-deps.txt", "locks/cpu.txt", "locks/cuda.txt"):
        shutil.copy(ROOT / "packaging" / name, clone / "packaging" / name)
    for name in ("pyproject.toml", "appliance/__init__.py"):
        shutil.copy(ROOT / name, clone / name)
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_UV_LOG", str(tmp_path / "uv.log"))
    monkeypatch.setenv("FAKE_UV_FAILS", "")
    monkeypatch.setattr(bootstrap, "ROOT", clone)
    monkeypatch.setattr(bootstrap, "PACKAGING", clone / "packaging")
    monkeypatch.setattr(bootstrap, "VENV", clone / ".venv")
    monkeypatch.setattr(bootstrap, "CACHE", tmp_path / "cache" / "dynamo-box")
    monkeypatch.setattr(bootstrap, "DISK_NEEDED_GB", {"cpu": 0, "cuda": 0})
    bootstrap.find_uv.cache_clear()
    return tmp_path


@pytest.fixture
def asked(place: Path) -> Callable[[], list[str]]:
    """What uv has been asked so far: the first two words of each call."""

    def asked() -> list[str]:
        log = place / "uv.log"
        return [" ".join(line.split()[:2]) for line in log.read_text().splitlines()] if log.exists() else []

    return asked


@pytest.fixture
def shared(place: Path) -> Plan:
    """The shared environment is there already, with one script and one program."""
    plan = bootstrap.make_plan("cpu")
    (plan.shared / "bin").mkdir(parents=True)
    (plan.shared / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (plan.shared / "bin" / "pytest").write_text("#!/bin/sh\necho script\n")
    (plan.shared / "bin" / "ruff").write_bytes(b"\x7fELF")
    return plan


def test_the_first_make_builds_both_and_the_second_does_nothing(asked: Callable[[], list[str]]) -> None:
    bootstrap.prepare("cpu")
    first = asked()
    assert first == ["venv --clear", "pip install", "pip install", "venv --clear", "pip install"]
    assert bootstrap.is_current(bootstrap.make_plan("cpu"))
    bootstrap.prepare("cpu")
    assert asked() == first


def test_a_second_clone_makes_only_its_own_small_environment(shared: Plan, asked: Callable[[], list[str]]) -> None:
    bootstrap.prepare("cpu")
    assert asked() == ["venv --clear", "pip install"]


def test_the_clone_s_environment_sees_the_shared_packages_and_commands(shared: Plan) -> None:
    bootstrap.prepare("cpu")
    line = (bootstrap.site_packages(bootstrap.VENV) / "shared.pth").read_text()
    assert str(bootstrap.site_packages(shared.shared)) in line
    assert not (bootstrap.VENV / "bin" / "pytest").is_symlink()
    assert (bootstrap.VENV / "bin" / "ruff").readlink() == shared.shared / "bin" / "ruff"


@pytest.mark.parametrize("file", ["pyproject.toml", "appliance/__init__.py", "packaging/locks/cpu.txt"])
def test_a_change_of_what_defines_it_makes_it_stale(shared: Plan, file: str) -> None:
    bootstrap.prepare("cpu")
    with (bootstrap.ROOT / file).open("a") as stream:
        stream.write("\n# changed\n")
    assert not bootstrap.is_current(bootstrap.make_plan("cpu"))


def test_a_moved_clone_is_stale(shared: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap.prepare("cpu")
    monkeypatch.setattr(bootstrap, "ROOT", bootstrap.ROOT.with_name("moved"))
    shutil.copytree(bootstrap.VENV.parent, bootstrap.ROOT, symlinks=True)
    assert not bootstrap.is_current(shared)


def test_the_other_engine_or_a_lost_cache_makes_it_stale(shared: Plan) -> None:
    bootstrap.prepare("cpu")
    assert not bootstrap.is_current(bootstrap.make_plan("cuda"))
    shutil.rmtree(shared.shared)
    assert not bootstrap.is_current(shared)


def test_a_set_up_that_waited_for_another_of_its_clone_does_nothing(
    shared: Plan, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = bootstrap.only_one

    @contextmanager
    def only_one() -> Iterator[None]:
        with waited():
            bootstrap.link_clone(shared)  # what the other did meanwhile
        with waited():
            yield

    monkeypatch.setattr(bootstrap, "only_one", only_one)
    bootstrap.prepare("cpu")
    assert asked() == ["venv --clear", "pip install"]


def test_several_at_once_build_each_environment_once(place: Path, asked: Callable[[], list[str]]) -> None:
    script = bootstrap.PACKAGING / "bootstrap.py"
    script.write_text(script.read_text().replace('"cpu": 4', '"cpu": 0'))
    line = [sys.executable, str(script), "--engine", "cpu"]
    for change in range(4):
        with (bootstrap.ROOT / "pyproject.toml").open("a") as stream:
            stream.write(f"\n# {change}\n")
        together = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(3)]
        outputs = [process.communicate()[0].decode() for process in together]
        assert [process.returncode for process in together] == [0, 0, 0], outputs
    shared, clone = ["venv --clear", "pip install", "pip install"], ["venv --clear", "pip install"]
    assert asked() == shared + 4 * clone
    assert not list(bootstrap.ROOT.glob(".venv.*"))


def test_a_failure_leaves_the_old_environment_and_the_next_make_starts_anew(
    shared: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.prepare("cpu")
    old = (bootstrap.VENV / "stamp").read_text()
    (bootstrap.ROOT / "pyproject.toml").write_text("# other\n")
    monkeypatch.setenv("FAKE_UV_FAILS", "error: No space left on device")
    with pytest.raises(SetupError, match=r"(?s)failed twice.*No space left.*The disk is full"):
        bootstrap.prepare("cpu")
    assert (bootstrap.VENV / "stamp").read_text() == old
    monkeypatch.setenv("FAKE_UV_FAILS", "")
    bootstrap.prepare("cpu")
    assert bootstrap.is_current(shared)
    assert not list(bootstrap.ROOT.glob(".venv.*"))


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_new_takes_the_place_of_the_old(place: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(bootstrap, "exchange", lambda _one, _other: False)
    new, target = place / "env.unfinished", place / "env"
    for word in ("first", "second", "third"):
        new.mkdir()
        (new / word).touch()
        bootstrap.put_in_place(new, target)
        assert [path.name for path in target.iterdir()] == [word]
        assert not list(place.glob("env.*"))


def test_a_link_to_another_disk_is_replaced_and_what_it_led_to_is_kept(place: Path) -> None:
    disk, new, target = place / "disk", place / "env.unfinished", place / "env"
    disk.mkdir()
    (disk / "precious").touch()
    target.symlink_to(disk)
    new.mkdir()
    bootstrap.put_in_place(new, target)
    assert target.is_dir()
    assert not target.is_symlink()
    assert (disk / "precious").exists()


def test_names_are_exchanged_in_one_step_or_not_at_all(place: Path) -> None:
    one, other = place / "one", place / "other"
    one.mkdir()
    assert not bootstrap.exchange(one, other)
    other.touch()
    assert bootstrap.exchange(one, other)
    assert other.is_dir()
    assert one.is_file()


def test_nobody_ever_finds_the_place_empty_or_half_made(place: Path) -> None:
    new, target = place / "env.unfinished", place / "env"
    done = threading.Event()
    misses: list[int] = []

    def look() -> None:
        while not done.is_set():
            misses.append(not (target / "stamp").exists())

    def build() -> None:
        new.mkdir()
        (new / "stamp").touch()
        bootstrap.put_in_place(new, target)

    build()
    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(50):
        build()
    done.set()
    reader.join()
    assert misses
    assert sum(misses) == 0


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("error: No space left on device", "disk is full"),
        ("error: failed to fetch https://…: dns error", "check the network"),
        ("error: something else", "Run make again once that is mended"),
    ],
)
def test_a_failure_says_what_to_do(words: str, advice: str) -> None:
    assert advice in bootstrap.failure_advice(words)


def test_a_full_disk_is_told_before_anything_is_downloaded(
    asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "DISK_NEEDED_GB", {"cpu": 10**9})
    with pytest.raises(SetupError, match="XDG_CACHE_HOME"):
        bootstrap.prepare("cpu")
    assert asked() == []


@pytest.mark.parametrize(
    ("answer", "version"), [("0.8.3", (0, 8)), ("1.2.0 (abc 2026-01-01)", (1, 2)), ("none", ()), ("", (0, 9))]
)
def test_the_version_of_uv_is_read(
    place: Path, answer: str, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_UV_VERSION", answer)
    assert bootstrap.uv_version(str(place / "bin" / "uv")) == version


def test_a_uv_that_does_not_start_is_older_than_any(place: Path) -> None:
    assert bootstrap.uv_version(str(place / "nowhere")) == ()
    assert bootstrap.uv_version(str(place / "nowhere")) < bootstrap.MIN_UV


@pytest.mark.parametrize(("listing", "engine"), [("GPU 0: NVIDIA L4", "cuda"), ("No devices were found", "cpu")])
def test_the_engine_is_picked_by_what_the_driver_lists(
    place: Path, listing: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = place / "bin" / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho '{listing}'\n")
    smi.chmod(0o755)
    assert bootstrap.pick_engine("auto") == engine
    monkeypatch.setenv("PATH", str(place / "empty"))
    assert bootstrap.pick_engine("auto") == "cpu"
    assert bootstrap.pick_engine("cuda") == "cuda"


def test_a_python_that_will_do_is_taken_and_another_is_looked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bootstrap.python_for_box() == os.path.realpath(sys.executable)
    monkeypatch.setattr(bootstrap, "PYTHONS", ((4, 0), (4, 2)))
    other = place / "bin" / "python3.12"
    other.write_text("#!/bin/sh\nexit 0\n")
    other.chmod(0o755)
    assert bootstrap.python_for_box() == str(other)
    monkeypatch.setenv("PATH", str(place / "empty"))
    with pytest.raises(SetupError, match="PYTHON="):
        bootstrap.python_for_box()


def test_what_a_user_has_set_for_other_environments_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in bootstrap.UNWANTED_VARIABLES:
        monkeypatch.setenv(name, "1")
    assert bootstrap.UNWANTED_VARIABLES.isdisjoint(bootstrap.uv_environment("cuda"))
    assert "UV_TORCH_BACKEND" not in bootstrap.uv_environment("cuda")


def test_a_folder_with_a_cpu_build_of_torch_is_enough(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    assert bootstrap.uv_environment("cpu")["UV_TORCH_BACKEND"] == "cpu"
    wheel = f"torch-2.13.0+cpu-cp{sys.version_info[0]}{sys.version_info[1]}-cp-linux.whl"
    (place / wheel).touch()
    environment = bootstrap.uv_environment("cpu")
    assert "UV_TORCH_BACKEND" not in environment
    assert environment["UV_FIND_LINKS"] == str(place)
