from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.hardware import Gpu, Hardware
from appliance.engine.plan import CPU_WORKERS, WorkerPlan, plan_workers
from appliance.errors import StartError
from appliance.settings import Settings

SOCKETS, LOGS = Path("/run/box"), Path("/var/log/box")


def plans(*, cpus: int = 4, gpus: int = 0, **workers: Any) -> tuple[WorkerPlan, ...]:
    cards = tuple(Gpu(index, index, "card", 1 << 30) for index in range(gpus))
    hardware = Hardware(gpus=cards, cpus=tuple(range(cpus)))
    return plan_workers(Settings.model_validate({"workers": workers}), hardware, SOCKETS, LOGS)


@given(cpus=st.integers(1, 70), count=st.integers(1, 80))
def test_every_worker_has_neighbouring_cores_shared_evenly(cpus: int, count: int) -> None:
    made = plans(cpus=cpus, count=count)
    assert [plan.id for plan in made] == list(range(count))
    assert all(plan.cpus and not plan.gpus for plan in made)
    assert all(high == low + 1 for plan in made for low, high in pairwise(plan.cpus))
    sizes = {len(plan.cpus) for plan in made}
    assert max(sizes) - min(sizes) <= 1
    used = [cpu for plan in made for cpu in plan.cpus]
    assert set(used) == set(range(cpus))
    times = [used.count(cpu) for cpu in range(cpus)]
    assert max(times) - min(times) <= 1
    assert count > cpus or max(times) == 1


@given(gpus=st.integers(1, 16), size=st.integers(1, 8))
def test_gpus_go_in_whole_groups_and_none_twice(gpus: int, size: int) -> None:
    if size > gpus:
        with pytest.raises(StartError, match="do not fit"):
            plans(gpus=gpus, tensor_parallel=size)
        return
    made = plans(gpus=gpus, tensor_parallel=size)
    assert len(made) == gpus // size
    assert all(len(plan.gpus) == size and not plan.cpus for plan in made)
    assert [gpu for plan in made for gpu in plan.gpus] == list(range(len(made) * size))


def test_a_count_takes_the_first_gpus() -> None:
    assert [plan.gpus for plan in plans(gpus=8, count=2, tensor_parallel=2)] == [(0, 1), (2, 3)]


def test_more_workers_than_gpus_are_refused_with_what_to_change() -> None:
    with pytest.raises(StartError, match=r"3 worker\(s\) of 2 GPU\(s\) do not fit on the 4 GPU\(s\)") as refused:
        plans(gpus=4, count=3, tensor_parallel=2)
    assert "workers.count" in str(refused.value.hint)


def test_without_gpus_the_cores_are_halved() -> None:
    assert [plan.cpus for plan in plans(cpus=5)] == [(0, 1), (2, 3, 4)]
    assert len(plans(cpus=5)) == CPU_WORKERS


def test_workers_share_nothing_but_the_folders() -> None:
    first, second = plans()
    assert (first.events, first.replay) == ("ipc:///run/box/events.0", "ipc:///run/box/replay.0")
    assert first.log == LOGS / "worker-0.log"
    assert not {first.events, first.replay, first.log} & {second.events, second.replay, second.log}


def test_devices_are_named_by_kind() -> None:
    assert plans(cpus=4)[1].devices == ["cpu:2", "cpu:3"]
    assert plans(gpus=2, tensor_parallel=2)[0].devices == ["cuda:0", "cuda:1"]
