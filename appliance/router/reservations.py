"""Places that a harness has taken for a request which it will send later."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from appliance.router.errors import IntegrityError, NoSuchReservation, TooManyReservations
from appliance.router.load import Ticket

MOST_RESERVATIONS = 256


class Reservations:
    """Open tickets by name, closed when they are freed or their time is over: `expire` must be called now and then.
    `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_RESERVATIONS) -> None:
        self._clock = clock
        self._most = most
        self._tickets: dict[str, Ticket] = {}
        self._ends: list[tuple[float, str]] = []
        """A heap; one of a name that is gone means nothing."""

    def __len__(self) -> int:
        return len(self._tickets)

    def check_room(self) -> None:
        """Raises `TooManyReservations` when `take` would."""
        self.expire()
        if len(self._tickets) >= self._most:
            raise TooManyReservations(
                f"{len(self)} places are reserved already", hint="free one, or wait until one's time is over"
            )

    def take(self, name: str, ticket: Ticket, seconds: float) -> None:
        """`ticket` weighs under this name, which must be new, for at most so long. Raises `TooManyReservations`."""
        self.check_room()
        self._tickets[name] = ticket
        heapq.heappush(self._ends, (self._clock() + seconds, name))

    def free(self, name: str) -> None:
        """Raises `NoSuchReservation` for one that is not known, or whose time was over."""
        self.expire()
        ticket = self._tickets.pop(name, None)
        if ticket is None:
            raise NoSuchReservation(f"no place is reserved as {name!r}; its time may be over")
        ticket.close()
        if len(self._ends) > 2 * self._most:
            self._ends = [end for end in self._ends if end[1] in self._tickets]
            heapq.heapify(self._ends)

    def expire(self) -> None:
        """Close what is past its time. Cheap when there is nothing."""
        while self._ends and self._ends[0][0] <= self._clock():
            ticket = self._tickets.pop(heapq.heappop(self._ends)[1], None)
            if ticket is not None:
                ticket.close()

    def check_integrity(self) -> None:
        """Raises `IntegrityError` for a place without an end, or more places than may be. Does not mutate."""
        if len(self) > self._most or not self._tickets.keys() <= {name for _, name in self._ends}:
            raise IntegrityError(f"reservations: {len(self)} places, {len(self._ends)} ends, room for {self._most}")
