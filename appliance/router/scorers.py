"""Scorers by name: the box's own, and those that other packages bring."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points

from appliance.errors import nearest
from appliance.router.errors import UnknownScorer
from appliance.router.scoring import Cost, Prospect, Scorer, expected_cost, least_loaded

GROUP = "dynamo_box.scorers"
DEFAULT = "expected_cost"
OWN: dict[str, Scorer] = {DEFAULT: expected_cost, "least_loaded": least_loaded}

log = logging.getLogger(__name__)


def load_scorer(name: str, plugins: Iterable[EntryPoint] | None = None) -> Scorer:
    """One of the box's own, or of `plugins` (those installed, if not given). Raises `UnknownScorer`."""
    if name in OWN:
        return OWN[name]
    found = {plugin.name: plugin for plugin in (entry_points(group=GROUP) if plugins is None else plugins)}
    if name not in found:
        near = nearest(name, [*OWN, *found])
        there = f"did you mean {near}?" if near else f"there are {', '.join([*OWN, *found])}"
        raise UnknownScorer(f'router.scorer = "{name}": no scorer of this name; {there}')
    return _loaded(found[name])


def _loaded(plugin: EntryPoint) -> Scorer:
    try:
        loaded = plugin.load()
        scorer: Scorer = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # other people's code: whatever is wrong with it is told
        raise UnknownScorer(f'router.scorer = "{plugin.name}": {plugin.value} cannot be loaded: {error}') from error
    if not callable(scorer):
        raise UnknownScorer(f'router.scorer = "{plugin.name}": {plugin.value} is no scorer: it cannot be called')
    return scorer


class Pricer:
    """Asks a scorer, and does without it for one decision when it fails: other people's code must not fail requests."""

    def __init__(self, scorer: Scorer) -> None:
        self.failures = 0
        """Decisions that the box's own cost had to make."""
        self._scorer = scorer

    def costs(self, prospects: Sequence[Prospect]) -> list[Cost]:
        if self._scorer is expected_cost:
            return [expected_cost(prospect) for prospect in prospects]
        try:
            costs = [self._scorer(prospect) for prospect in prospects]
            if all(math.isfinite(cost.total_seconds) for cost in costs):
                return costs
            self._failed(f"it gave {costs}")
        except Exception as error:  # noqa: BLE001 – the border to other people's code; it is counted and told
            self._failed(repr(error))
        return [expected_cost(prospect) for prospect in prospects]

    def _failed(self, problem: str) -> None:
        self.failures += 1
        if self.failures & (self.failures - 1) == 0:
            log.warning("the scorer failed, for the %d. time: %s", self.failures, problem)
