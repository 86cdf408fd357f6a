"""A retention plan as the payload of a `kv.retain` action, in which it travels to an engine.

The names are those of vLLM's proposal; `tiers`, `rule` and `lead` are ours, and a reader may leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from appliance.cache.errors import InvalidRange
from appliance.cache.plan import Directive, RetentionPlan, first_wrong
from appliance.cache.tier import ALL_TIERS, TIERS, Tier, tier_names, tiers_named
from appliance.errors import nearest

ACTION_TYPE: Final = "kv.retain"
ACTION_VERSION: Final = "1.0"

Value = TypeVar("Value")


class Lead(NamedTuple):
    """The session that started a subagent, and how long to wait rather than push that out."""

    scope: str
    patience_seconds: float


def encode_plan(plan: RetentionPlan, scope: str | None, lead: Lead | None = None) -> dict[str, Any]:
    """`scope` is the session whose claims these are, `lead` the one that waits for it."""
    payload: dict[str, Any] = {"scope": scope, "directives": [_encode(one) for one in plan.directives]}
    return payload if lead is None else payload | {"lead": {"scope": lead.scope, "patience": lead.patience_seconds}}


def decode_lead(payload: Mapping[str, Any]) -> Lead | None:
    """`None` where none is named, or not as `encode_plan` does."""
    match payload.get("lead"):
        case {"scope": str(scope), "patience": float(patience) | int(patience)} if patience >= 0:
            return Lead(scope, patience)
        case _:
            return None


def _encode(one: Directive) -> dict[str, Any]:
    covers = {"covers_output": True} if one.token_end is None else {"start": one.token_start, "end": one.token_end}
    worth = {"priority": one.priority, "duration": one.duration_seconds}
    tiers = {} if one.tiers == ALL_TIERS else {"tiers": tier_names(one.tiers)}
    return {**covers, **worth, **tiers, "rule": one.rule}


def decode_plan(payload: Mapping[str, Any]) -> RetentionPlan:
    """Without `covers_output` the output gets what the end of the prompt gets. Raises `InvalidRange` unless the
    directives cover a prompt from 0 on without gaps and rise nowhere."""
    entries = payload.get("directives")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise InvalidRange("kv.retain: directives must be a list")
    found: list[Directive] = []
    for number, entry in enumerate(entries):
        found.append(_decode(number, entry, found[-1].token_end if found else 0))
    if found and (last := found[-1]).token_end is not None:
        found.append(last._replace(token_start=last.token_end, token_end=None))
    directives = tuple(found)
    if (wrong := first_wrong(directives)) is not None:
        raise InvalidRange(f"kv.retain: {wrong}")
    return RetentionPlan(directives)


def _decode(number: int, entry: object, position: int | None) -> Directive:
    if not isinstance(entry, dict):
        raise InvalidRange(f"kv.retain: directive {number} must be an object")
    if entry.get("covers_output"):
        if position is None:
            raise InvalidRange(f"kv.retain: directive {number} is a second one for what is generated")
        start, end = position, None
    else:
        start, end = _whole(number, entry, "start"), _whole(number, entry, "end")
    duration = entry.get("duration")
    if duration is not None and type(duration) not in (int, float):
        raise InvalidRange(f"kv.retain: directive {number}: duration = {duration!r} must be seconds or null")
    priority = _whole(number, entry, "priority")
    return Directive(start, end, priority, duration, _tiers(number, entry), str(entry.get("rule", "directive")))


def _whole(number: int, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise InvalidRange(f"kv.retain: directive {number}: {key} = {value!r} must be a whole number")
    return value


def _tiers(number: int, entry: Mapping[str, Any]) -> Tier:
    names = entry.get("tiers")
    if names is None:
        return ALL_TIERS
    if not isinstance(names, list):
        raise InvalidRange(f"kv.retain: directive {number}: tiers = {names!r} must be a list")
    for name in names:
        if name not in TIERS:
            meant = nearest(str(name), TIERS) or ", ".join(TIERS)
            raise InvalidRange(f"kv.retain: directive {number}: unknown tier {name!r}; there is {meant}")
    return tiers_named(names)
