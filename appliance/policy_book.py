"""The policies that were active in this box, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from appliance.cache.policy import Policy
from appliance.cache.policy_text import policy_text

MOST_VERSIONS: Final = 256


class Read(NamedTuple):
    """Prompt tokens so far, and how many of them were read from a cache."""

    prompt_tokens: int
    cached_tokens: int


class Predicted(NamedTuple):
    """What a replay of the live record said of a policy before it became active. `of_seconds` is how long that was."""

    hit_rate: float
    active_hit_rate: float
    of_seconds: float


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """`number` counts from 1; 1 is what the box was started with. `activated_at` is in seconds since 1970, `read` what
    had been read until then. `rolls_back_to` is the version that it repeats."""

    number: int
    policy: Policy
    author: str
    note: str | None
    activated_at: float
    read: Read
    rolls_back_to: int | None = None
    predicted: Predicted | None = None


class PolicyBook:
    """The newest `MOST_VERSIONS`. `read_so_far` tells what was read since the box started. `earlier` were active before
    it was started again, the oldest first; where the last of them says the same as `policy`, it still is."""

    def __init__(
        self,
        policy: Policy,
        read_so_far: Callable[[], Read] = lambda: Read(0, 0),
        clock: Callable[[], float] = time.time,
        earlier: Sequence[PolicyVersion] = (),
    ) -> None:
        self._read_so_far = read_so_far
        self._clock = clock
        self._versions = list(earlier[-MOST_VERSIONS:])
        if earlier and policy_text(earlier[-1].policy) == policy_text(policy):
            self._versions[-1] = replace(earlier[-1], policy=policy)
        else:
            self.activate(policy, "settings", None)

    @property
    def active(self) -> PolicyVersion:
        return self._versions[-1]

    def activate(
        self,
        policy: Policy,
        author: str,
        note: str | None,
        *,
        rolls_back_to: int | None = None,
        predicted: Predicted | None = None,
    ) -> PolicyVersion:
        number = self._versions[-1].number + 1 if self._versions else 1
        version = PolicyVersion(
            number, policy, author, note, self._clock(), self._read_so_far(), rolls_back_to, predicted
        )
        self._versions = [*self._versions[1 - MOST_VERSIONS :], version]
        return version

    def newest(self, most: int, until: float | None = None) -> list[PolicyVersion]:
        """The newest comes first. `until`: of those that had become active at that time."""
        return list(islice((each for each in reversed(self._versions) if _is_until(each, until)), most))

    def get(self, number: int) -> PolicyVersion | None:
        """`None` for one that is not remembered, or never was."""
        return next((version for version in self._versions if version.number == number), None)

    def active_at(self, at: float) -> PolicyVersion | None:
        """`None` for a time before all that is remembered."""
        return next(iter(self.newest(1, at)), None)

    def before_active(self) -> PolicyVersion | None:
        """The newest that says something else than the active one."""
        now = self.active.policy
        return next((version for version in reversed(self._versions) if version.policy != now), None)

    def realised(self, version: PolicyVersion) -> Read:
        """What was read while it was active."""
        later = next((each.read for each in self._versions if each.number == version.number + 1), None)
        end = self._read_so_far() if later is None else later
        return Read(end.prompt_tokens - version.read.prompt_tokens, end.cached_tokens - version.read.cached_tokens)


def _is_until(version: PolicyVersion, until: float | None) -> bool:
    return until is None or version.activated_at <= until
