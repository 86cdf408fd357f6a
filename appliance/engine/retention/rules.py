"""Rules by number, as the eviction core keeps them on its claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.layout import FOREVER, NO_RULE
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.worth import Worth

FIRST_OTHER: Final = 1 << 14
"""From here on are the numbers of what is not a policy's rule, and which no change of policy touches."""
LIMIT: Final = 1 << 15


class RuleNumbers:
    """Gives each name a number at its first use, for good. Names beyond the limits have none: NO_RULE.

    A policy's rule is called by its file and line. What a hint has moved, a mark, a pin or a directive is worth what it
    asked for, whatever the policy says.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._next = {True: 0, False: FIRST_OTHER}

    def number(self, name: str) -> int:
        known = self._numbers.get(name)
        return self._add(name) if known is None else known

    def name(self, number: int) -> str | None:
        return self._names.get(number)

    def table(self, worths: Mapping[str, Worth]) -> tuple[Numbers, Numbers]:
        """Priorities and durations of the policy's rules by number. One that is not among `worths` is worth the
        default: the policy has it no longer."""
        default = Worth(DEFAULT_PRIORITY, FOREVER)
        table = [worths.get(self._names[number], default) for number in range(self._next[True])]
        columns = np.array(table, np.int64).reshape(-1, len(default))
        return columns[:, 0], columns[:, 1]

    def _add(self, name: str) -> int:
        is_of_policy = ":" in name and not name.endswith("+hint")
        number = self._next[is_of_policy]
        if number == (FIRST_OTHER if is_of_policy else LIMIT):
            return NO_RULE
        self._next[is_of_policy] += 1
        self._numbers[name], self._names[number] = number, name
        return number
