"""A box with a disk tier, killed whole and started again: what it had computed is read from the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.test_host_tier import BLOCK_TOKENS, CACHE_BYTES, Box

pytestmark = pytest.mark.engine

HOST_BYTES = DISK_BYTES = 128 * 2**20


@contextmanager
def serving(home: Path, **more: str) -> Iterator[tuple[Box, psutil.Process]]:
    """A box in this folder. In float32 a block that was read and one that was computed give the same tokens."""
    environment = os.environ | {
        "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
        "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
        "DYNAMO_BOX_CACHE__GPU__BYTES": str(CACHE_BYTES),
        "DYNAMO_BOX_CACHE__HOST__BYTES": str(HOST_BYTES),
        "DYNAMO_BOX_CACHE__DISK__BYTES": str(DISK_BYTES),
        "DYNAMO_BOX_CACHE__DISK__PATH": str(home / "kv.slab"),
        "DYNAMO_BOX_MODEL__DTYPE": "float32",
        "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "1024",
        "DYNAMO_BOX_WORKERS__COUNT": "1",
    }
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("a") as log:
        process = subprocess.Popen(line, env=environment | more, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, (home / "box.log").read_text()
    box = Box(json.loads(first)["endpoint"], environment | more)
    try:
        yield box, psutil.Process(process.pid)
    finally:
        box.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def kill_whole(root: psutil.Process) -> None:
    family = [root, *root.children(recursive=True)]
    for one in family:
        one.kill()
    psutil.wait_procs(family, 30)


def written(box: Box, blocks: int) -> None:
    box.until(f"status['disk'] and status['disk']['used'] >= {blocks} and not status['disk']['queued']")


def test_a_box_killed_whole_reads_its_prompts_from_the_disk(tmp_path: Path) -> None:
    with serving(tmp_path) as (box, process):
        cold = box.ask("lasting")
        stored = cold.prompt_tokens // BLOCK_TOKENS
        written(box, stored)
        box.ask("cut short", max_tokens=1)
        kill_whole(process)
    with serving(tmp_path) as (box, _):
        status = box.until("status['disk'] is not None")
        assert status["disk"]["restored"] >= stored
        warm = box.ask("lasting")
        assert (cold.cached_tokens, warm.is_cached, warm.text) == (0, True, cold.text)
        assert warm.by_tier == {"gpu": 0, "host": 0, "disk": warm.cached_tokens, "remote": 0}
        assert box.until("status['disk']['promoted'] > 0")["disk"]["bad"] == 0
        verified = box.command("verify")
        assert [(check["tier"], check["error"]) for check in verified["checks"]] == [
            ("gpu", None),
            ("host", None),
            ("disk", None),
        ]
        tiers = {tier["tier"]: tier["used"] for tier in box.command("stats")["tiers"]}
        assert tiers["disk"] >= stored

        keeper = box.status()["disk"]["pid"]
        os.kill(keeper, signal.SIGKILL)
        assert box.ask("while there is no keeper", max_tokens=1).prompt_tokens
        after = box.until("status['disk'] and status['disk']['restarts'] == 1")
        assert after["disk"]["pid"] != keeper
        box.until("status['host']['held'] == 0")
    assert not psutil.pid_exists(keeper)


def test_a_slab_whose_bytes_were_changed_is_computed_anew(tmp_path: Path) -> None:
    with serving(tmp_path) as (box, _):
        cold = box.ask("lasting")
        written(box, cold.prompt_tokens // BLOCK_TOKENS)
    with (tmp_path / "kv.slab").open("r+b") as file:
        row_bytes = status_row_bytes(tmp_path)
        for row in range(DISK_BYTES // (row_bytes + 4096)):
            file.seek(4096 + row * (row_bytes + 4096) + 4096 + 100)
            file.write(b"\xa5")
    with serving(tmp_path) as (box, _):
        box.until("status['disk'] is not None")
        again = box.ask("lasting")
        assert (again.cached_tokens, again.text) == (0, cold.text)
        assert box.until("status['disk']['bad'] > 0")["disk"]["promoted"] == 0


def status_row_bytes(home: Path) -> int:
    """As the slab's own first page says."""
    with (home / "kv.slab").open("rb") as file:
        return int.from_bytes(file.read(32)[24:], "little")
