"""When the rows of a slab were used last: a small file beside it, since a header is written only with its row.

It is written now and then and at the end, so that after a kill the last of it is missing; what it says of a row counts
only if the row still has the generation that it had then.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from appliance.cache.arena.tables import Numbers
from appliance.cache.slab.layout import Records

_MAGIC: Final = b"DBXUSES1"
_DIGEST_BYTES: Final = 16


class Uses(NamedTuple):
    """One element a row; generation 0 for a row without a block. Times are of the wall clock."""

    generations: Numbers
    last_uses_ms: Numbers


def uses_file(slab: Path) -> Path:
    return slab.with_name(f"{slab.name}.uses")


def save(path: Path, uses: Uses) -> None:
    """Whole or not at all. Raises `OSError`."""
    body = _MAGIC + np.concatenate(uses).astype("<i8").tobytes()
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(body + _digest(body))
    new.replace(path)


def load(path: Path) -> Uses | None:
    """`None` when there is none, or it is not what was written."""
    try:
        told = path.read_bytes()
    except OSError:
        return None
    body, digest = told[:-_DIGEST_BYTES], told[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or digest != _digest(body) or (len(body) - len(_MAGIC)) % 16:
        return None
    both = np.frombuffer(body, "<i8", offset=len(_MAGIC)).astype(np.int64).reshape(2, -1)
    return Uses(both[0], both[1])


def with_uses(records: Records, uses: Uses | None) -> Records:
    """These headers, each with its last use as far as that is known to be later than its writing."""
    if uses is None:
        return records
    updated = records.copy()
    known = np.flatnonzero(records["row"] < len(uses.generations))
    rows = records["row"][known].astype(np.int64)
    known, rows = (each[uses.generations[rows] == records["generation"][known]] for each in (known, rows))
    updated["last_use_ms"][known] = np.maximum(records["last_use_ms"][known], uses.last_uses_ms[rows])
    return updated


def _digest(body: bytes) -> bytes:
    return sha256(body).digest()[:_DIGEST_BYTES]
