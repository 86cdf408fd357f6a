"""Sessions by slot, as the eviction core knows them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from appliance.cache.errors import IntegrityError

ANONYMOUS: Final = 0
"""The slot of all requests that name no session: of two claims on one block the later one holds."""


class SessionSlots:
    """Gives each session a slot; the one used longest ago loses its own when there is none left, unless it has requests
    in flight."""

    def __init__(self, num_slots: int, forget: Callable[[int], None]) -> None:
        """`forget` is told of each slot before it is given to another session. `num_slots` ≥ 2."""
        self.num_slots = num_slots
        self.num_forgotten = 0
        self.num_refused = 0
        """How often there was no slot for a session, because all had requests in flight."""
        self._forget = forget
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._names: list[str | None] = [None] * num_slots
        self._num_requests = [0] * num_slots

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, name: str) -> int | None:
        return self._slots.get(name)

    def name(self, slot: int) -> str | None:
        """Of the slot's session; `None` for numbers that are no slot as well."""
        return self._names[slot] if slot >= 0 else None

    def begin_request(self, name: str) -> int:
        """The session's slot; ANONYMOUS when there is none for it. To be undone with `end_request`."""
        slot = self._slots.get(name)
        if slot is None:
            slot = self._new_slot()
            if slot is None:
                self.num_refused += 1
                return ANONYMOUS
            self._slots[name], self._names[slot] = slot, name
        self._slots.move_to_end(name)
        self._num_requests[slot] += 1
        return slot

    def end_request(self, slot: int) -> None:
        if slot != ANONYMOUS:
            self._num_requests[slot] -= 1

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        names = {slot: name for slot, name in enumerate(self._names) if name is not None}
        if names != {slot: name for name, slot in self._slots.items()} or ANONYMOUS in names:
            raise IntegrityError(f"{len(self._slots)} sessions have slots, {len(names)} slots have sessions")
        if min(self._num_requests) < 0 or any(
            self._num_requests[slot] for slot in set(range(self.num_slots)) - set(names)
        ):
            raise IntegrityError(f"requests in flight by slot: {self._num_requests}")

    def _new_slot(self) -> int | None:
        if len(self._slots) < self.num_slots - 1:
            return len(self._slots) + 1
        for name, slot in self._slots.items():
            if not self._num_requests[slot]:
                del self._slots[name]
                self.num_forgotten += 1
                self._forget(slot)
                return slot
        return None
