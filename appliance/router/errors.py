"""Errors of the router.

RouterError                  anything the router reports on purpose
├─ NoWorker                  no worker may take this request now
├─ NoSuchReservation         no place is reserved under this name
├─ TooManyReservations       no more places can be reserved now
├─ UnknownScorer             no scorer has this name, or it cannot be loaded
├─ UndecodableBatch          an event payload is not a batch of KV events
├─ IndexFull                 more blocks than the prefix index may hold
├─ UnknownParent             blocks are to be stored behind one that is not in the index
└─ IntegrityError            a structure of the router contradicts itself or the engine
"""

from __future__ import annotations

from appliance.errors import BoxError


class RouterError(BoxError):
    """Base of the router's errors."""


class NoWorker(RouterError):
    """There is no candidate: none was added, or all were removed or excluded."""


class NoSuchReservation(RouterError):
    """It was never there, was freed, or its time was over."""


class TooManyReservations(RouterError):
    """Nothing was reserved."""


class UnknownScorer(RouterError):
    """Names the nearest scorer that there is."""


class UndecodableBatch(RouterError):
    """A payload is not a msgpack batch of KV events; what it said is lost."""


class IndexFull(RouterError):
    """The blocks were not stored; the index is as it was."""


class UnknownParent(RouterError):
    """The blocks were not stored; the index is as it was."""


class IntegrityError(RouterError):
    """Raised by `check_integrity()` only: a bug in this program, never the operator's fault."""
