"""The rows of the eviction core's arrays.

A block's busiest facts fill exactly one cache line. Links name a neighbour by its number; at the two ends of a list
they are `-2 - n` instead, n being the list's number, so that an element is taken out without knowing its list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.cache.sources import SOURCES_DIGEST

NO_BLOCK = -1
NO_SESSION = -1
NOBODY = -2
"""The session of a block's shared claim."""
NO_RULE = -1
DEFAULT_PRIORITY = 35
MAX_PRIORITY = 100
NUM_LEVELS = MAX_PRIORITY - DEFAULT_PRIORITY + 1
"""Of claims: level 0 has those of at most the default, level n those of n more than it."""
FOREVER = 0
"""The duration of a claim without an end."""
MAX_DURATION_MS = 2**31 - 1

FREE = 0
"""The bucket of blocks without content; priority p has bucket p + 1."""
AWAITED = MAX_PRIORITY + 2
NUM_BUCKETS = AWAITED + 1
NOWHERE = 255
"""The bucket of a block that is in no list: it is held."""

UNKNOWN = -2
"""As a bucket's lowest session: to be looked for."""

WHEEL_LEVELS = 4
WHEEL_SLOTS = 256

STATS = (
    "fills",
    "hits",
    "evictions",
    "free_takes",
    "expired_claims",
    "session_share_falls",
    "total_share_falls",
    "shared_claims",
    "widened_claims",
    "orphans",
)
STATE = np.dtype(
    [
        ("now_ms", "i8"),
        ("uses", "i8"),
        ("wheel_ms", "i8"),
        ("num_candidates", "i8"),
        ("num_changed", "i8"),
        ("num_claimed", "i8"),
        ("session_limit", "i8"),
        ("total_limit", "i8"),
        ("is_forecast", "i8"),
        ("num_owners", "i8"),
        *((name, "i8") for name in STATS),
    ]
)
BLOCK = np.dtype(
    [
        ("use", "i8"),
        ("last_use_ms", "i8"),
        ("owner", "i4"),
        ("parent", "i4"),
        ("first_child", "i4"),
        ("previous_sibling", "i4"),
        ("next_sibling", "i4"),
        ("previous", "i4"),
        ("next", "i4"),
        ("holders", "i4"),
        ("waiters", "i4"),
        ("duration_ms", "i4"),
        ("own", "u1"),
        ("effective", "u1"),
        ("bucket", "u1"),
        ("has_content", "u1"),
        ("num_claims", "u1"),
        ("timer_level", "u1"),
        ("is_changed", "u1"),
        ("spare", "u1"),
    ]
)
CLAIM = np.dtype(
    [
        ("session", "i4"),
        ("duration_ms", "i4"),
        ("previous", "i4"),
        ("next", "i4"),
        ("rule", "i2"),
        ("priority", "u1"),
        ("spare", "u1"),
    ]
)
TIMER = np.dtype([("at_ms", "i8"), ("previous", "i4"), ("next", "i4")])
LINK = np.dtype([("previous", "i4"), ("next", "i4")])
ENDS = np.dtype([("first", "i4"), ("last", "i4")])
BUCKET = np.dtype([("num_blocks", "i4"), ("lowest_session", "i4")])
SESSION = np.dtype([("keep", "f8"), ("prompt_use", "i8"), ("num_above", "i8"), ("num_owned", "i8")])

LEVEL = np.dtype([("num_timers", "i8")])
CHANGE = np.dtype([("use", "i8"), ("block", "i8")])
TABLES = (
    "header",
    "state",
    "buckets",
    "sessions",
    "blocks",
    "lists",
    "claims",
    "claims_of",
    "claimed",
    "claimed_ends",
    "timers",
    "wheel",
    "levels",
    "changes",
)
HEADER = np.dtype(
    [
        ("magic", "i8"),
        ("digest", "S16"),
        # numba's cache on disk goes by argument types and each kernel's own file: see `sources.py`.
        (f"spare_{SOURCES_DIGEST}", "i8"),
        ("num_blocks", "i8"),
        ("num_sessions", "i8"),
        ("claims_per_block", "i8"),
        *((table, "i8") for table in TABLES),
    ]
)
"""Under a table's name: where its row 0 lies, counted from the header. Sessions, and the lists by session, start with
row -1, of blocks that nobody owns.
"""

Rows = NDArray[np.void]
