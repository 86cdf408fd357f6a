"""Errors of the router.

RouterError                  anything the router reports on purpose
├─ NoWorker                  no worker may take this request now
├─ UndecodableBatch          an event payload is not a batch of KV events
└─ IntegrityError            a structure of the router contradicts itself
"""

from __future__ import annotations

from appliance.errors import BoxError


class RouterError(BoxError):
    """Base of the router's errors."""


class NoWorker(RouterError):
    """There is no candidate: none was added, or all were removed or excluded."""


class UndecodableBatch(RouterError):
    """A payload is not a msgpack batch of KV events; what it said is lost."""


class IntegrityError(RouterError):
    """Raised by `check_integrity()` only: a bug in this program, never the operator's fault."""
