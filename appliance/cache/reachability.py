"""Rules that can never match, because earlier ones take everything that they would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple

from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds, Condition
from appliance.cache.session_state import SessionRole, SessionState

# `Hints` has an ordinary value for these, so there is no request without them.
ALWAYS_GIVEN: Final = frozenset({"priority"})


class _Point(NamedTuple):
    region: Region
    state: SessionState
    role: SessionRole
    keeps_thinking: bool | None
    shared: bool | None
    hints: dict[str, int | None]


def covering(condition: Condition, earlier: Sequence[Condition]) -> frozenset[int] | None:
    """The places in `earlier` of those that leave nothing to `condition`; `None`: it can match.

    Exact, but for patterns that only together match all that another one does: these leave a rule reachable.
    """
    takers = [(place, other) for place, other in enumerate(earlier) if _takes_text(other, condition)]
    covering: set[int] = set()
    for point in _points(condition, [other for _, other in takers]):
        taker = next((place for place, other in takers if _holds(other, point)), None)
        if taker is None:
            return None
        covering.add(taker)
    return frozenset(covering)


def _points(condition: Condition, earlier: Sequence[Condition]) -> Iterator[_Point]:
    """One point of each piece of `condition` in which no other condition makes a difference."""
    values = [list(_hint_values(name, condition, earlier)) for name in HINTS]
    flags = _flag_values(condition.keeps_thinking), _flag_values(condition.shared)
    for point in product(condition.regions, condition.states, condition.roles, *flags):
        for hints in product(*values):
            yield _Point(*point, dict(zip(HINTS, hints, strict=True)))


def _flag_values(flag: bool | None) -> tuple[bool | None, ...]:
    return (True, False, None) if flag is None else (flag,)


def _hint_values(name: str, condition: Condition, earlier: Sequence[Condition]) -> Iterator[int | None]:
    """`None`, and the first number of each piece into which the bounds of all cut those of `condition`."""
    own = dict(condition.hints).get(name)
    if own is None and name not in ALWAYS_GIVEN:
        yield None
    own = own or Bounds()
    bounds = [own, *(dict(other.hints)[name] for other in earlier if name in dict(other.hints))]
    starts = {edge.low for edge in bounds if edge.low is not None}
    starts |= {edge.high + 1 for edge in bounds if edge.high is not None}
    starts.add(min(starts, default=0) - 1)
    yield from sorted(start for start in starts if own.contain(start))


def _holds(condition: Condition, point: _Point) -> bool:
    return (
        point.region in condition.regions
        and point.state in condition.states
        and point.role in condition.roles
        and condition.keeps_thinking in (None, point.keeps_thinking)
        and condition.shared in (None, point.shared)
        and all(bounds.contain(point.hints[name]) for name, bounds in condition.hints)
    )


def _takes_text(wider: Condition, narrower: Condition) -> bool:
    return _includes(wider.client, narrower.client) and _includes(wider.model, narrower.model)


def _includes(wider: str | None, narrower: str | None) -> bool:
    """Whether every text that fits `narrower` fits `wider`; a pattern with `[…]` includes only its equal."""
    if wider is None:
        return True
    wide, narrow = wider.lower(), "*" if narrower is None else narrower.lower()
    return wide == narrow or ("[" not in wide + narrow and _pattern_includes(wide, narrow))


def _pattern_includes(wide: str, narrow: str) -> bool:
    """Reads every text that could tell the two apart, with both at once: a letter of either, or any other one."""
    letters = set(wide + narrow) - {"*", "?"} | {"\0"}
    begin = (_passed(wide, {0}), _passed(narrow, {0}))
    seen, unread = {begin}, [begin]
    while unread:
        in_wide, in_narrow = unread.pop()
        if len(narrow) in in_narrow and len(wide) not in in_wide:
            return False
        reached = {(_step(wide, in_wide, letter), _step(narrow, in_narrow, letter)) for letter in letters} - seen
        seen |= reached
        unread += reached
    return True


def _step(pattern: str, places: frozenset[int], letter: str) -> frozenset[int]:
    """The places in a pattern where one could be after one more letter."""
    inside = [place for place in places if place < len(pattern)]
    stay = {place for place in inside if pattern[place] == "*"}
    return _passed(pattern, stay | {place + 1 for place in inside if pattern[place] in ("?", letter)})


def _passed(pattern: str, places: set[int]) -> frozenset[int]:
    """With the places behind each `*`, which need no letter."""
    passed = set(places)
    for place in range(len(pattern)):
        if place in passed and pattern[place] == "*":
            passed.add(place + 1)
    return frozenset(passed)
