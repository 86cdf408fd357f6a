"""Makes the retention plan of a prompt from all who have a say: operator, client, agent and policy, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.cache.claims import DEFAULT_PRIORITY, HIGHEST, NO_END, Wish, Worths, capped, raised, settled, worth
from appliance.cache.errors import InvalidRange
from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import REGIONS, RegionMap
from appliance.cache.rule import Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.conversation import RetentionDirective

MARK_PRIORITY: Final = 80
"""What a client's mark is worth: less than system text that sessions share, more than any conversation."""

HINT_SECONDS: Final = 300.0
"""How long what only a hint lifts above the default stays there: as long as a mark that names no time."""

TOOL_SPREAD: Final = 2.0
"""A conversation is kept for so many times as long as its tool is said to take: a client's word is off by a factor of
two, or by less, in two cases of three."""

MARK: Final = "mark"
"""What decided where a client's mark did."""
_LABELS: Final = (MARK, "directive", "pin")
_MARK, _DIRECTIVE, _PIN = range(len(REGIONS), len(REGIONS) + len(_LABELS))

_TOOL_WAIT: Final = frozenset({SessionState.TOOL_WAIT})

_Starts = NDArray[np.int64]


class MarkedPrefix(Protocol):
    """The first `tokens` tokens of a prompt are to be kept for `ttl_seconds` after their last use."""

    @property
    def tokens(self) -> int: ...

    @property
    def ttl_seconds(self) -> float: ...


def make_plan(
    regions: RegionMap,
    policy: Policy,
    context: SessionContext,
    *,
    pins: Sequence[RetentionDirective] = (),
    marks: Sequence[MarkedPrefix] = (),
) -> RetentionPlan:
    """Changes nothing and asks no clock: the same arguments give the same plan.

    Pins and the directives in `context.hints` are exact, and of each list an earlier one wins. Marks, like hints above
    0, only lift what the policy gives. What is past the end of the prompt is cut off.

    Raises `InvalidRange` for a directive that is reversed or asks for a priority or duration that there is not.
    """
    directives = context.hints.retention
    for one in (*pins, *directives):
        _check(one)
    starts = _piece_starts(regions, (*pins, *directives), marks)
    region_codes = _region_codes(regions, starts)
    decisions = [_decision(policy.match(region, context), context) for region in REGIONS]
    by_policy, tiers = _policy_wish(decisions, region_codes)
    marked = _marked(starts, marks)
    exact = (_exact_wish(pins, starts), _exact_wish(directives, starts))
    everywhere = Wish(np.ones(len(starts), dtype=np.bool_), np.maximum(by_policy, marked))
    worths = settled((*exact, everywhere), len(starts))
    labels = np.where((marked > by_policy).any(axis=0), _MARK, region_codes)
    labels = np.where(exact[0].mask, _PIN, np.where(exact[1].mask, _DIRECTIVE, labels))
    names = [*(decision.label for decision in decisions), *_LABELS]
    return RetentionPlan(_directives(starts, worths, tiers, labels, names))


class _Decision(NamedTuple):
    """What the policy, and a hint, give a region."""

    worth: Worths
    tiers: Tier
    caps_rest: bool
    label: str


def _decision(rule: Rule | None, context: SessionContext) -> _Decision:
    if rule is None:
        plain = _Decision(worth(DEFAULT_PRIORITY, None), ALL_TIERS, caps_rest=False, label="default")
    else:
        plain = _Decision(worth(rule.priority, rule.duration_seconds), rule.tiers, rule.caps_rest, rule.label)
    got = plain.worth
    if rule is not None and context.state is SessionState.TOOL_WAIT and rule.condition.states == _TOOL_WAIT:
        got = _waiting(got, context.hints.tool_wait_seconds)
    if context.hints.priority != 0:
        got = _hinted(got, context.hints.priority)
    return plain if got is plain.worth else plain._replace(worth=got, label=f"{plain.label}+hint")


def _waiting(plain: Worths, tool_wait_seconds: float | None) -> Worths:
    """What a rule for sessions that wait for a tool gives, when the client says how long the tool takes: for twice that
    time. A tool that is said to outlast the rule gets nothing, since its conversation would be kept and then lost."""
    priority, duration_seconds = plain[:, 0].tolist()
    if tool_wait_seconds is None or priority <= DEFAULT_PRIORITY:
        return plain
    needed_seconds = TOOL_SPREAD * tool_wait_seconds
    return worth(priority, needed_seconds) if needed_seconds <= duration_seconds else worth(DEFAULT_PRIORITY, None)


def _hinted(plain: Worths, hint_priority: int) -> Worths:
    """A hint moves the priority by itself, down to 0, and up to what a mark is worth."""
    priority, duration_seconds = plain[:, 0].tolist()
    moved = max(priority + hint_priority, 0)
    if hint_priority > 0:
        moved = max(priority, min(moved, MARK_PRIORITY))
    return worth(moved, duration_seconds if priority > DEFAULT_PRIORITY else HINT_SECONDS)


def _check(one: RetentionDirective) -> None:
    end = "the end" if one.token_end is None else one.token_end
    what = f"retention for tokens {one.token_start} to {end}"
    if one.token_start < 0:
        raise InvalidRange(f"{what}: the first token is 0")
    if one.token_end is not None and one.token_end <= one.token_start:
        raise InvalidRange(f"{what} is reversed or empty: its end must be above {one.token_start}")
    if not 0 <= one.priority <= 100:
        closest = min(max(one.priority, 0), 100)
        raise InvalidRange(f"{what}: priority {one.priority} is not from 0 to 100; the nearest is {closest}")
    if one.duration_seconds is not None and not one.duration_seconds >= 0:
        raise InvalidRange(f"{what}: a duration of {one.duration_seconds} seconds; the nearest is 0")


def _piece_starts(
    regions: RegionMap, directives: Sequence[RetentionDirective], marks: Sequence[MarkedPrefix]
) -> _Starts:
    """Where anything may change, in order; the last is the end of the prompt, where the output starts."""
    tokens = regions.tokens
    cuts = [0, tokens, *(min(mark.tokens, tokens) for mark in marks)]
    for one in directives:
        cuts += [min(one.token_start, tokens), tokens if one.token_end is None else min(one.token_end, tokens)]
    return np.unique(np.concatenate([regions.starts, np.array(cuts, dtype=np.int64)]))


def _region_codes(regions: RegionMap, starts: _Starts) -> NDArray[np.int64]:
    of_prompt = regions.codes[regions.starts.searchsorted(starts[:-1], side="right") - 1]
    return np.append(of_prompt, REGIONS.index(Region.OUTPUT))


def _policy_wish(decisions: Sequence[_Decision], region_codes: NDArray[np.int64]) -> tuple[Worths, NDArray[np.uint8]]:
    """Worth and tiers of each piece: first what caps the rest, then what is behind lifts what is ahead."""
    worths = np.concatenate([decision.worth for decision in decisions], axis=1)[:, region_codes]
    tiers = np.array([decision.tiers.value for decision in decisions], dtype=np.uint8)[region_codes]
    caps = np.array([decision.caps_rest for decision in decisions])[region_codes]
    worths = np.minimum(worths, capped(np.where(caps, worths, HIGHEST)))
    tiers = tiers & np.bitwise_and.accumulate(np.where(caps, tiers, ALL_TIERS.value).astype(np.uint8))
    return raised(worths), np.bitwise_or.accumulate(tiers[::-1])[::-1]


def _marked(starts: _Starts, marks: Sequence[MarkedPrefix]) -> Worths:
    worths = np.zeros((2, len(starts)))
    for mark in marks:
        kept = worth(MARK_PRIORITY, mark.ttl_seconds)
        worths = np.where(starts < mark.tokens, np.maximum(worths, kept), worths)
    worths[:, -1] = 0.0
    return worths


def _exact_wish(directives: Sequence[RetentionDirective], starts: _Starts) -> Wish:
    """To the end means to the end of the prompt."""
    mask = np.zeros(len(starts), dtype=np.bool_)
    worths = np.zeros((2, len(starts)))
    for one in reversed(directives):
        covered = starts >= one.token_start
        if one.token_end is not None:
            covered &= starts < one.token_end
        covered[-1] = False
        mask |= covered
        worths = np.where(covered, worth(one.priority, one.duration_seconds), worths)
    return Wish(mask, worths)


def _directives(
    starts: _Starts, worths: Worths, tiers: NDArray[np.uint8], labels: NDArray[np.int64], names: Sequence[str]
) -> tuple[Directive, ...]:
    """Neighbours that get the same for the same reason are one; the output is always its own."""
    same_reason = np.array([names.index(name) for name in names])
    facts = np.vstack([worths, tiers, same_reason[labels]])
    is_first = np.append(True, (facts[:, 1:] != facts[:, :-1]).any(axis=0))
    is_first[-1] = True
    firsts = starts[is_first].tolist()
    rows = zip(firsts, [*firsts[1:], None], facts[:, is_first].T.tolist(), strict=True)
    return tuple(
        Directive(start, end, int(priority), _duration(priority, seconds), Tier(int(bits)), names[int(label)])
        for start, end, (priority, seconds, bits, label) in rows
    )


def _duration(priority: float, seconds: float) -> float | None:
    return seconds if priority > DEFAULT_PRIORITY and seconds != NO_END else None
