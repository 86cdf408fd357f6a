"""What the box asks of an engine: methods added to its core, which runs them between two steps.

Arguments and answers are what msgpack can carry. On an engine whose pool is vLLM's own all of them fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vllm.v1.engine.core import EngineCore

from appliance.cache.errors import IntegrityError, InvalidRange
from appliance.engine.retention.arrays import numbers
from appliance.engine.retention.worth import Worth

if TYPE_CHECKING:
    from appliance.engine.retention.retention import Retention


def box_retention_stats(engine: EngineCore) -> dict[str, Any]:
    """Counts since the start, and what is free, claimed and awaited now."""
    return _retention(engine).stats()


def box_evictions(engine: EngineCore, most: int) -> list[Any]:
    """`[evictions, left, dropped]`: the oldest that nobody has asked for yet, about `most` of them."""
    reports = _retention(engine).reports
    evictions = reports.drain(most)
    return [evictions, len(reports), reports.num_dropped]


def box_replan(engine: EngineCore, session: str, payload: dict[str, Any]) -> int:
    """The session's claims on its last prompt's blocks become those of this `kv.retain` payload; on how many blocks."""
    return _retention(engine).requests.replan(session, payload)


def box_replan_all(engine: EngineCore, payloads: dict[str, dict[str, Any]]) -> int:
    """As `box_replan` for several sessions; sessions that are not known are passed over."""
    requests = _retention(engine).requests
    return sum(requests.replan(session, payload) for session, payload in payloads.items())


def box_finish(engine: EngineCore, session: str, priority: int) -> bool:
    """All claims of the session become this, at most the default. False for a session that is not known."""
    return _retention(engine).requests.finish(session, priority)


def box_apply_policy(engine: EngineCore, worths: dict[str, list[int]]) -> None:
    """Every claim of a policy's rule is worth what is given for the rule's name: `[priority, duration_ms]`, 0 for no
    end. Rules that are not named are worth the default. Claims of marks, pins and directives stay."""
    for name, (priority, duration_ms) in worths.items():
        if not 0 <= priority <= 100 or duration_ms < 0:
            raise InvalidRange(f"{name}: priority {priority} must be 0 to 100, duration {duration_ms} ms at least 0")
    _retention(engine).apply({name: Worth(*worth) for name, worth in worths.items()})


def box_set_keeps(engine: EngineCore, keeps: dict[str, float], unnamed: float) -> None:
    """The forecast's word on sessions, and on blocks of none: the lowest goes first inside a priority."""
    _retention(engine).requests.keeps.set(keeps, unnamed)


def box_clear_keeps(engine: EngineCore) -> None:
    """No forecast: the order is by last use again."""
    _retention(engine).requests.keeps.clear()


def box_wait(engine: EngineCore, name: str, event_hashes: list[int | bytes]) -> int:
    """A request that has not reached the engine wants these blocks, called as in KV events; how many there are.

    They go last of all until `box_unwait` of the same name; a second call replaces the first.
    """
    retention = _retention(engine)
    retention.event_hashes.update()
    pool, found = engine.scheduler.kv_cache_manager.block_pool, []
    groups = sorted(retention.requests.linked_groups or ())
    for event_hash in event_hashes:
        own = retention.event_hashes.find(event_hash)
        cached = pool.get_cached_block(own, groups) if own is not None and groups else None
        found += [block.block_id for block in cached or ()]
    retention.waiting.begin(name, numbers(found))
    return len(found)


def box_unwait(engine: EngineCore, name: str) -> None:
    _retention(engine).waiting.end(name)


def box_sessions(engine: EngineCore) -> dict[str, int]:
    """By session, how many blocks it was the last to use, if any."""
    retention = _retention(engine)
    retention.requests.tagger.settle_all()
    return retention.requests.num_owned()


def box_block_map(engine: EngineCore, cells: int) -> list[Any]:
    """The pool in at most so many cells, as `BlockMap.packed`."""
    retention = _retention(engine)
    retention.requests.tagger.settle_all()
    # numba, imported before a CPU worker is up, would end it.
    from appliance.engine.retention.block_map import block_map

    return block_map(retention.table, retention.requests.sessions, cells).packed()


def box_check_integrity(engine: EngineCore) -> str | None:
    """What contradicts itself; `None`: nothing. Looks at every block: for tests, and for who asks for it."""
    try:
        _retention(engine).check_integrity()
    except IntegrityError as error:
        return str(error)
    return None


CALLS: tuple[Callable[..., Any], ...] = (
    box_retention_stats,
    box_evictions,
    box_replan,
    box_replan_all,
    box_finish,
    box_apply_policy,
    box_set_keeps,
    box_clear_keeps,
    box_wait,
    box_unwait,
    box_sessions,
    box_block_map,
    box_check_integrity,
)


def add_calls() -> None:
    for call in CALLS:
        setattr(EngineCore, call.__name__, call)


def _retention(engine: EngineCore) -> Retention:
    retention: Retention = engine.scheduler.kv_cache_manager.retention
    retention.table.tick()
    return retention
