"""What can go wrong in the cache, on purpose.

CacheError
├─ InvalidBlock         a block, session, priority or duration that this call cannot take
├─ NotEnoughBlocks      more blocks were asked for than are candidates
├─ InvalidRange         token ranges that are reversed, overlap, leave a gap, or ask for the impossible
├─ InvalidPolicy        a policy file that is wrong, or a policy that does not exist
├─ InvalidForecast      a saved forecast that does not fit
├─ TraceError           a recorded trace that cannot be read or replayed
├─ LayoutMismatch       a buffer that does not hold the arrays it should
└─ IntegrityError       a structure contradicts itself
"""

from __future__ import annotations

from appliance.errors import BoxError


class CacheError(BoxError):
    """Base of this package's errors."""


class InvalidBlock(CacheError):
    """A block, session, priority or duration that this call cannot take; nothing was changed."""


class NotEnoughBlocks(CacheError):
    """More blocks were asked for than are candidates; nothing was changed."""


class InvalidRange(CacheError):
    """Token ranges that are reversed, overlap, leave a gap, or ask for a priority or duration that there is not."""


class InvalidPolicy(CacheError):
    """Each line of the message names file, line, key and value of one wrong thing, and the nearest valid one."""


class LayoutMismatch(CacheError):
    """A buffer that is too small, or was laid out by other code."""


class IntegrityError(CacheError):
    """A structure contradicts itself: a bug, or memory that somebody else wrote."""


class InvalidForecast(CacheError):
    """A saved forecast that does not fit; nothing was changed."""


class TraceError(CacheError):
    """A recorded trace that cannot be read or replayed; names the file, the line and what is wrong with it."""
