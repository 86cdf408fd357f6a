"""How much each session is worth keeping, inside one priority, as the forecast says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.cache.eviction import EvictionCore, Order
from appliance.cache.layout import NO_SESSION
from appliance.engine.retention.sessions import ANONYMOUS, SessionSlots

JUST_USED: Final = float("inf")
"""Until the forecast speaks of a session again: nothing is as sure to be needed as what was just used."""


class Keeps:
    """The order is by last use until a forecast has spoken, and by forecast from then on."""

    def __init__(self, core: EvictionCore, sessions: SessionSlots) -> None:
        self._core = core
        self._sessions = sessions

    def set(self, keeps: Mapping[str, float], unnamed: float) -> None:
        """`unnamed` is for blocks of no session. Sessions that are not named keep what they have."""
        if self._core.order is not Order.FORECAST:
            self._core.set_order(Order.FORECAST)
        for name, keep in keeps.items():
            slot = self._sessions.find(name)
            if slot is not None:
                self._core.set_keep(slot, keep)
        self._core.set_keep(NO_SESSION, unnamed)

    def use(self, slot: int) -> None:
        """The session has a request."""
        if slot != ANONYMOUS and self._core.order is Order.FORECAST:
            self._core.set_keep(slot, JUST_USED)

    def clear(self) -> None:
        """Back to the order of last use."""
        self._core.set_order(Order.LRU)
