from __future__ import annotations

from random import Random
from types import ModuleType

import msgspec
import numpy as np

from appliance.router import hashing, kernels, msgpack_scan, pending
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.router import Router, RoutingPolicy
from appliance.router.warming import warm_up
from appliance.router.wire_events import decode_batch

MODULES: tuple[ModuleType, ...] = (msgpack_scan, hashing, kernels, pending)


def compiled() -> dict[str, int]:
    """For each kernel that was called from outside, for how many combinations of types."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "signatures", None) and value.__module__ == module.__name__:
                found[f"{module.__name__}.{name}"] = len(value.signatures)
    return found


def test_every_kernel_is_compiled_for_one_kind_of_arguments_and_nothing_later() -> None:
    warm_up()
    warm = compiled()
    work_of_a_box()
    assert compiled() == warm
    assert {name: count for name, count in warm.items() if count != 1} == {
        "appliance.router.msgpack_scan.read_numbers": 2
    }


def work_of_a_box() -> None:
    index = PrefixIndex(piece=lambda _: 300)
    mirror = WorkerMirror(3, index, block_tokens=2)
    router = Router(index, [3, 4], RoutingPolicy.KV, block_tokens=2, random=Random(1))  # noqa: S311  a test
    stored = {
        "type": "BlockStored",
        "block_hashes": [2**64 - 1, b"32 bytes"],
        "parent_block_hash": None,
        "token_ids": [1, 2, 3, 2**32 - 1],
        "block_size": 2,
        "extra_keys": [["salt"], None],
    }
    for event in (stored, stored | {"parent_block_hash": 2**64 - 1}, {"type": "BlockRemoved", "block_hashes": []}):
        mirror.apply(decode_batch(msgspec.msgpack.encode([0.0, [event]])))
    removals = [{"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU"} for name in (7, 2**64 - 1)]
    mirror.apply(decode_batch(msgspec.msgpack.encode([0.0, removals, 0])))
    many = np.arange(8192, dtype=np.uint32)
    for token_ids in ([], [1], range(7), [1, 2, 3, 2**32 - 1], many, np.flip(many)):
        ticket = router.admit(router.route(token_ids, extra_keys=[["salt"], ["image", 3]]))
        index.store(4, ticket.hashes[1:], parent=None, tier=Tier.HOST)
        index.remove(4, ticket.hashes[:1], tier=Tier.HOST)
        ticket.close()
    index.begin_move()
    while index.is_moving:
        index.remove(4, ticket.hashes[1:], tier=Tier.HOST)
        index.mark(4, ticket.hashes[1:], Tier.DISK)
    index.clear(4)
    mirror.check_integrity()
    index.check_integrity()
    mirror.reset()
